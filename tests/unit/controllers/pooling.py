"""A pool's controller over a store and informers that are as far as a test lets them be.

Machines and disks have no controllers here: the tests say what becomes of them. ``Dying`` is a store whose process
is killed at one of its writes.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from hyperd.admission import Policy, review
from hyperd.controllers.context import Context
from hyperd.controllers.pool.controller import PoolController
from hyperd.errors import TemporaryError
from hyperd.resources.all import (
    KINDS,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_POOL,
)
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.conditions import find_condition
from hyperd.resources.values.meta import Key
from hyperd.runtime.controller import Result
from hyperd.runtime.informer import Informer
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import AdmissionRequest, AdmissionResponse, PatchType
from tests.unit.resources.samples import example

NAME = "workers"
PREFIX = "vmpool.virtualization.deckhouse.io/"
WRITES = ("create", "update", "patch", "delete")
for _kind in (VIRTUAL_MACHINE_POOL, VIRTUAL_MACHINE, VIRTUAL_DISK, VIRTUAL_MACHINE_CLASS):
    assert _kind.schema, "made once in a process, and not in the first look of a test"


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """A store that is written to ``left`` times more; the last write may be made, and nobody hears of it."""

    def __init__(self, store: EmbeddedStore, left: int | None = None, *, made: bool = True) -> None:
        self._store = store
        self.left = left
        self.made = made
        self.asked: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in (*WRITES, "list"):
            return method

        async def call(kind: Kind, *args: Any, **more: Any) -> Any:
            key = f"{name} {kind.plural}"
            self.asked[key] = self.asked.get(key, 0) + 1
            if name == "list" or self.left is None:
                return await method(kind, *args, **more)
            self.left -= 1
            if self.left < 0:
                if self.made:
                    await method(kind, *args, **more)
                raise Killed
            return await method(kind, *args, **more)

        return call


class Pool:
    """One pool called ``workers`` in the namespace ``default``."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.store = store
        self.told: list[tuple[str, str]] = []
        """Reason and message of events."""
        self.begin()

    def begin(self, left: int | None = None, *, made: bool = True) -> None:
        """A new process, which is killed at a write where ``left`` says so."""
        self.dying = Dying(self.store, left, made=made)
        self._informers: dict[Kind, Informer[Any]] = {}
        recorder = SimpleNamespace(event=lambda _, __, reason, message: self.told.append((reason, message)))
        context = SimpleNamespace(store=self.dying, informer=self._informer, events=recorder)
        self.controller = PoolController(cast(Context, context))

    def _informer(self, kind: Kind) -> Informer[Any]:
        return self._informers.setdefault(kind, Informer(self.store, kind))

    async def learn(self, *kinds: Kind) -> None:
        """Have informers know what the store says now; all of them where none is named."""
        for kind in kinds or tuple(self._informers):
            await self._informer(kind)._relist()

    async def look(self) -> Result | None:
        """One reconcile, with informers that are as far as they are."""
        return await self.controller.reconcile(Key("default", NAME))

    async def settle(self) -> None:
        """Look, and learn, until nothing changes any more."""
        for _ in range(40):
            await self.learn()
            before = await self.versions()
            try:
                await self.look()
            except TemporaryError:
                continue
            if await self.versions() == before:
                return
        raise AssertionError("the pool does not come to rest")

    async def versions(self) -> dict[str, str]:
        kinds = (VIRTUAL_MACHINE_POOL, VIRTUAL_MACHINE, VIRTUAL_DISK)
        return {one.uid: one.resource_version for kind in kinds for one in (await self.store.list(kind)).items}

    async def make(self, change: Callable[[Object], None] = lambda _: None) -> None:
        obj = copy.deepcopy(example("VirtualMachinePool", NAME))
        change(obj)
        await self.store.create(VIRTUAL_MACHINE_POOL, "default", obj)

    async def change(self, change: Callable[[Object], None]) -> None:
        obj = await self.get()
        change(obj)
        await self.store.update(VIRTUAL_MACHINE_POOL, "default", NAME, obj)

    async def scale(self, number: int) -> None:
        await self.change(lambda pool: pool["spec"].update(replicas=number))

    async def get(self) -> Object:
        found: Object = (await self.store.get(VIRTUAL_MACHINE_POOL, "default", NAME)).object()
        return found

    async def machines(self) -> list[Object]:
        """All of the namespace, the oldest first."""
        found = [one.object() for one in (await self.store.list(VIRTUAL_MACHINE, "default")).items]
        return sorted(found, key=lambda vm: (vm["metadata"]["creationTimestamp"], vm["metadata"]["name"]))

    async def disks(self, template: str = "") -> list[Object]:
        found = [one.object() for one in (await self.store.list(VIRTUAL_DISK, "default")).items]
        label = "vmpool.virtualization.deckhouse.io/disk-template"
        return [vd for vd in found if template in ("", vd["metadata"].get("labels", {}).get(label))]

    async def run(self, **status: Any) -> None:
        """All machines run, and say so of their spec as it is; ``status`` is what they say else."""
        for vm in await self.machines():
            if not vm["metadata"].get("deletionTimestamp"):
                conditions = status.get("conditions", [])
                told = {"phase": "Running", "observedGeneration": vm["metadata"]["generation"]}
                vm["status"] = {**told, **status, "conditions": conditions}
                await self.store.update(
                    VIRTUAL_MACHINE, "default", vm["metadata"]["name"], vm, subresource="status"
                )
        for vd in await self.disks():
            vd["status"] = {**vd.get("status", {}), "phase": "Ready"}
            await self.store.update(VIRTUAL_DISK, "default", vd["metadata"]["name"], vd, subresource="status")

    async def bury(self) -> None:
        """What is being deleted goes."""
        for _ in range(2):  # disks go after their machines
            for kind in (VIRTUAL_MACHINE, VIRTUAL_DISK):
                for item in (await self.store.list(kind, "default")).items:
                    if item.object()["metadata"].get("deletionTimestamp"):
                        patch = {"metadata": {"finalizers": None}}
                        await self.store.patch(kind, "default", item.name, PatchType.MERGE, patch)
            await self.collected()

    async def collected(self) -> None:
        """Nothing is there any more whose owner is gone, unless it is on its way out."""
        while True:
            pools = {one.uid for one in (await self.store.list(VIRTUAL_MACHINE_POOL)).items}
            machines = (await self.store.list(VIRTUAL_MACHINE, "default")).items
            there = pools | {one.uid for one in machines}
            disks = (await self.store.list(VIRTUAL_DISK, "default")).items
            late = [
                one
                for one in (*machines, *disks)
                for meta in [one.object()["metadata"]]
                for owner in meta.get("ownerReferences") or ()
                if owner["uid"] not in there and not meta.get("deletionTimestamp")
            ]
            if not late:
                return
            await asyncio.sleep(0.005)


async def _admit(request: AdmissionRequest) -> AdmissionResponse:
    return await review(request, policy=Policy())


@asynccontextmanager
async def opened(folder: Path, **settings: int) -> AsyncIterator[Pool]:
    """``settings`` are the store's."""
    kept = EmbeddedStore(folder / "store.db", settings=StoreSettings(**settings), admit=_admit, kinds=KINDS)
    async with opened_store(kept) as store:
        spec = {"cpu": {"type": "Host"}}
        await store.create(VIRTUAL_MACHINE_CLASS, "", {"metadata": {"name": "generic"}, "spec": spec})
        yield Pool(store)


def names(objects: list[Object]) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


def disks_of(vm: Object) -> list[str]:
    return [ref["name"] for ref in vm["spec"]["blockDeviceRefs"] if ref["kind"] == "VirtualDisk"]


async def told(pool: Pool, type_: str) -> tuple[str, str, str] | None:
    found = find_condition(await pool.get(), type_)
    return None if found is None else (found["status"], found["reason"], found["message"])
