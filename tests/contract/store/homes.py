"""The homes that the contract is put to. A second implementation is one more class here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from hyperd.errors import NotFound
from hyperd.resources.crd import crd
from hyperd.resources.schema.kind import Kind, Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import (
    AdmissionRequest,
    AdmissionResponse,
    EventType,
    PatchType,
    Store,
    Watch,
    WatchEvent,
)
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.plane import Cluster
from tests.contract.store.kinds import (
    CONFIG_MAPS,
    GADGETS,
    KINDS,
    NAMESPACES,
    WIDGETS,
    config_map,
    owned_by,
    widget,
)

Hook = Callable[[AdmissionRequest, AdmissionResponse], None]


class Home(Protocol):
    """A store that can be started, stopped, and started again over the same objects."""

    @property
    def store(self) -> Store: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def restart(self) -> None: ...


class EmbeddedHome:
    """The store over one SQLite file in a folder of its own."""

    def __init__(self, folder: Path, *, log_events: int = 1000, queue_limit: int = 4096) -> None:
        self.path = folder / "store.db"
        self.hook: Hook | None = None
        self._log_events = log_events
        self._queue_limit = queue_limit
        self._store: EmbeddedStore | None = None

    @property
    def embedded(self) -> EmbeddedStore:
        assert self._store is not None
        return self._store

    @property
    def store(self) -> Store:
        return self.embedded

    async def start(self) -> None:
        self._store = EmbeddedStore(
            self.path,
            settings=StoreSettings(watch_log_events=self._log_events),
            admit=self._admit,
            kinds=KINDS,
            queue_limit=self._queue_limit,
        )
        await self._store.start()

    async def stop(self) -> None:
        await self.embedded.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def _admit(self, request: AdmissionRequest) -> AdmissionResponse:
        response = AdmissionResponse(request.new)
        if self.hook is not None:
            self.hook(request, response)
        return response


class KubernetesHome:
    """The store over a real API server, emptied at each start of a test; a restart is one of the client."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._store: KubernetesStore | None = None

    @property
    def store(self) -> KubernetesStore:
        assert self._store is not None
        return self._store

    async def start(self) -> None:
        self._store = KubernetesStore(self._cluster.kubeconfig)
        await self._store.start()

    async def stop(self) -> None:
        await self.store.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def empty(self) -> None:
        """Remove whatever an earlier test left."""
        # In this thread: what a thread of the loop starts is killed when that thread ends, with the test.
        if define_kinds(self._cluster):
            await self._until_collecting()
        ours = [kind for kind in KINDS if kind is not NAMESPACES]
        leftovers = [
            (kind, item)
            for kind in ours
            for item in (await self.store.list(kind)).items
            if not (kind.core and item.namespace in SYSTEM_NAMESPACES[1:])
        ]
        for kind, item in leftovers:
            if item.object()["metadata"].get("finalizers"):
                free = {"metadata": {"finalizers": None}}
                await self.store.patch(kind, item.namespace, item.name, PatchType.MERGE, free)
        for kind, namespace in {(kind, item.namespace) for kind, item in leftovers}:
            await self.store.delete_collection(kind, namespace)
        for item in (await self.store.list(NAMESPACES)).items:
            if item.name not in SYSTEM_NAMESPACES:
                await self._remove_namespace(item.object())

    async def _until_collecting(self) -> None:
        """Wait until the garbage collector, which starts slowly on a busy machine, knows the tests' kinds."""
        gadget = (await self.store.create(GADGETS, "", {"metadata": {"name": "probe"}})).object()
        owned = (await self.store.create(WIDGETS, "default", owned_by(widget("probe"), gadget))).object()
        await self.store.create(CONFIG_MAPS, "default", owned_by(config_map("probe"), owned))
        await self.store.delete(GADGETS, "", "probe")
        await gone(self.store, WIDGETS, "default", "probe", seconds=90)
        await gone(self.store, CONFIG_MAPS, "default", "probe", seconds=90)

    async def _remove_namespace(self, obj: Object) -> None:
        # Its content is gone already; the namespace controller would let five seconds pass.
        name = obj["metadata"]["name"]
        await self.store.delete(NAMESPACES, "", name)
        try:
            obj = (await self.store.get(NAMESPACES, "", name)).object()
            obj["spec"]["finalizers"] = []
            await self.store.update(NAMESPACES, "", name, obj, subresource="finalize")
        except NotFound:
            return


SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_defined: set[Path] = set()


def define_kinds(cluster: Cluster) -> bool:
    """Have the tests' kinds served, and what they own collected; once for each cluster. Whether it was now."""
    if cluster.kubeconfig in _defined:
        return False
    cluster.apply(*(crd(kind) for kind in KINDS if not kind.core))
    cluster.ensure_controllers()
    _defined.add(cluster.kubeconfig)
    return True


async def gone(store: Store, kind: Kind, namespace: str, name: str, *, seconds: float = 30) -> None:
    """Wait, on the watch, until the object does not exist."""
    async with asyncio.timeout(seconds), store.watch(kind, namespace or None) as events:
        try:
            await store.get(kind, namespace, name)
        except NotFound:
            return
        async for event in events:
            if event.type is EventType.DELETED and event.item.name == name:
                return


async def changed(store: Store, kind: Kind, namespace: str, name: str, holds: Callable[[Object], bool]) -> Object:
    """Wait, on the watch, until the object is as ``holds`` wants it."""
    async with asyncio.timeout(30), store.watch(kind, namespace or None) as events:
        async for event in events:
            if event.item.name == name and event.type is not EventType.DELETED and holds(event.item.object()):
                found: Object = event.item.object()
                return found
    raise AssertionError("the watch ended")


async def take(events: Watch, count: int) -> list[WatchEvent]:
    """The next ``count`` events."""
    taken: list[WatchEvent] = []
    async with asyncio.timeout(10):
        async for event in events:
            taken.append(event)
            if len(taken) == count:
                break
    return taken


def told(events: list[WatchEvent]) -> list[tuple[str, str]]:
    """(type, name) of each event."""
    return [(event.type.value, event.item.name) for event in events]


AnyHome = TypeVar("AnyHome", bound=Home)


@asynccontextmanager
async def running(home: AnyHome) -> AsyncIterator[AnyHome]:
    await home.start()
    try:
        yield home
    finally:
        await home.stop()
