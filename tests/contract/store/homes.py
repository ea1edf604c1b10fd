"""The homes that the contract is put to. A second implementation is one more class here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hyperd.errors import NotFound
from hyperd.resources.kind import Kind, Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded import EmbeddedStore
from hyperd.store.interface import AdmissionRequest, AdmissionResponse, EventType, Store, Watch, WatchEvent
from tests.contract.store.kinds import KINDS

Hook = Callable[[AdmissionRequest, AdmissionResponse], None]


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


async def gone(store: Store, kind: Kind, namespace: str, name: str) -> None:
    """Wait, on the watch, until the object does not exist."""
    async with asyncio.timeout(10), store.watch(kind, namespace or None) as events:
        try:
            await store.get(kind, namespace, name)
        except NotFound:
            return
        async for event in events:
            if event.type is EventType.DELETED and event.item.name == name:
                return


async def changed(store: Store, kind: Kind, namespace: str, name: str, holds: Callable[[Object], bool]) -> Object:
    """Wait, on the watch, until the object is as ``holds`` wants it."""
    async with asyncio.timeout(10), store.watch(kind, namespace or None) as events:
        async for event in events:
            if event.item.name == name and event.type is not EventType.DELETED and holds(event.item.object()):
                return event.item.object()
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


@asynccontextmanager
async def running(home: EmbeddedHome) -> AsyncIterator[EmbeddedHome]:
    await home.start()
    try:
        yield home
    finally:
        await home.stop()
