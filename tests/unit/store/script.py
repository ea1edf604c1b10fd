"""A run from create to delete, and what a store may hold after each of its writes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hyperd.resources.schema.kind import Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import Item, PatchType, Write
from tests.contract.store.kinds import CONFIG_MAPS, KINDS, SECRETS, WIDGETS, config_map, owned_by, widget

World = dict[tuple[str, str, str], bytes]
"""(plural, namespace, name) → the object's bytes, of all kinds."""

FINALIZER = "test.deckhouse.io/hold"
Step = Callable[[EmbeddedStore], Awaitable[Item]]


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder of a file system in memory, where the machine has one."""
    place = "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="hvs", dir=place if os.path.isdir(place) else None) as folder:
        yield Path(folder)


def store_at(path: Path, *, vfs: str = "", log_events: int = 20_000) -> EmbeddedStore:
    return EmbeddedStore(
        path, settings=StoreSettings(watch_log_events=log_events), admit=None, kinds=KINDS, vfs=vfs
    )


async def world(store: EmbeddedStore) -> World:
    """All that a client can read."""
    return {
        (kind.plural, item.namespace, item.name): item.raw
        for kind in KINDS
        for item in (await store.list(kind)).items
    }


async def counter(store: EmbeddedStore) -> int:
    return int((await store.list(WIDGETS)).resource_version)


async def _changed(store: EmbeddedStore, change: Callable[[Object], None], subresource: str = "") -> Item:
    obj = (await store.get(WIDGETS, "default", "w")).object()
    change(obj)
    return await store.update(WIDGETS, "default", "w", obj, subresource=subresource)


async def _create(store: EmbeddedStore) -> Item:
    obj = widget("w", color="red")
    obj["metadata"]["finalizers"] = [FINALIZER]
    return await store.create(WIDGETS, "default", obj)


async def _own(store: EmbeddedStore) -> Item:
    owner = (await store.get(WIDGETS, "default", "w")).object()
    # Larger than a page: its row spans several.
    big = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"big": "eHh4" * 2500}}
    return await store.create(SECRETS, "default", owned_by(big, owner))


async def _apply(store: EmbeddedStore) -> Item:
    applied = widget("w", color="green", size=7)
    write = Write(field_manager="another")
    return await store.patch(WIDGETS, "default", "w", PatchType.APPLY, applied, force=True, write=write)


async def _delete(store: EmbeddedStore) -> Item:
    return (await store.delete(WIDGETS, "default", "w"))[0]


async def _release(store: EmbeddedStore) -> Item:
    return await store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"metadata": {"finalizers": None}})


STEPS: tuple[Step, ...] = (
    _create,
    lambda store: _changed(store, lambda obj: obj["spec"].update(color="blue")),
    lambda store: _changed(store, lambda obj: obj.update(status={"phase": "Running"}), "status"),
    _own,
    lambda store: store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"metadata": {"labels": {"a": "b"}}}),
    lambda store: store.create(CONFIG_MAPS, "default", config_map("other")),
    _apply,
    _delete,
    _release,
)
"""Create with a finalizer, update, status, an owned object, a label, another object, apply, delete, let go."""


@dataclass
class Trace:
    """What was true after each acknowledged change: the state, and how many disk operations lay behind it."""

    states: list[World] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)

    async def note(self, store: EmbeddedStore, operations: int) -> None:
        self.states.append(await world(store))
        self.versions.append(await counter(store))
        self.operations.append(operations)


async def settled(store: EmbeddedStore) -> None:
    """Wait until the collector has removed what the deleted widget owned."""
    async with asyncio.timeout(10):
        while await store.find(SECRETS, "default", "s") is not None:
            await asyncio.sleep(0.001)
