"""Controllers' informers over the wire: whatever happens to the connection or the server, they end up right."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hyperd.resources.all import CONFIG_MAP
from hyperd.runtime.informer import Informer
from hyperd.store.interface import EventType, Item
from hyperd.store.kubernetes import watch as kubernetes_watch
from hyperd.store.kubernetes.store import KubernetesStore
from tests.unit.api.conftest import Api, config_map, folder, serving

__all__ = ["folder"]


class Wire:
    """A port in front of the server's. ``freeze`` makes what is open half-open: no byte, and no end either."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()

    def freeze(self) -> None:
        """Of what is open nothing comes through any more; new connections are not touched."""
        self._thawed.clear()
        self._thawed = asyncio.Event()
        self._thawed.set()

    def cut(self) -> None:
        """Reset what is open."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        thawed = self._thawed
        self._writers.append(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.append(far_writer)
        with contextlib.suppress(OSError):
            await asyncio.gather(_copy(reader, far_writer, thawed), _copy(far_reader, writer, thawed))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, thawed: asyncio.Event) -> None:
    while data := await reader.read(1 << 16):
        await thawed.wait()
        writer.write(data)
        await writer.drain()
    await thawed.wait()
    writer.close()


class Told:
    """What a handler was told, as a second copy of the objects; it must always fit what it knew."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.changed = asyncio.Event()

    def __call__(self, type_: EventType, old: Item | None, new: Item | None) -> None:
        item = new or old
        assert item is not None
        assert (type_ is EventType.ADDED) == (item.name not in self.held)
        if new is None:
            del self.held[item.name]
        else:
            self.held[item.name] = new.resource_version
        self.changed.set()

    async def until(self, condition: Callable[[dict[str, str]], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition(self.held):
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def following(api: Api, wire: Wire) -> AsyncIterator[Told]:
    """An informer of a namespace's ConfigMaps, as a controller on another machine has it."""
    await wire.start()
    text = api.settings.kubeconfig_path.read_text()
    kubeconfig = api.settings.state_dir / "through-the-wire"
    kubeconfig.write_text(text.replace(f":{api.server.port}", f":{wire.port}"))
    store = KubernetesStore(kubeconfig)
    await store.start()
    informer, told = Informer(store, CONFIG_MAP, namespace="default"), Told()
    informer.add_handler(told)
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(20):
            await informer.synced.wait()
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()
        await wire.close()


async def change(api: Api, made: str, deleted: str) -> None:
    await api.store.create(CONFIG_MAP, "default", config_map(made))
    await api.store.delete(CONFIG_MAP, "default", deleted)


async def test_a_connection_that_is_reset_or_hangs_is_made_anew_and_nothing_is_missed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_watch, "IDLE_SECONDS", 1.0)
    async with serving(folder) as api:
        await api.store.create(CONFIG_MAP, "default", config_map("a"))
        wire = Wire(api.server.port)
        async with following(api, wire) as told:
            assert set(told.held) == {"a"}
            wire.cut()
            await change(api, "b", "a")
            await told.until(lambda held: set(held) == {"b"})
            wire.freeze()
            await change(api, "c", "b")
            await told.until(lambda held: set(held) == {"c"})


async def test_a_server_that_restarts_finds_its_informers_again(folder: Path) -> None:
    async with serving(folder) as api:
        await api.store.create(CONFIG_MAP, "default", config_map("a"))
        wire = Wire(api.server.port)
        following_it = following(api, wire)
        told = await following_it.__aenter__()
    try:
        # Away, and back on another port, with a change that nobody was told of.
        async with serving(folder) as api:
            await change(api, "b", "a")
            wire.target = api.server.port
            await told.until(lambda held: set(held) == {"b"})
            await change(api, "c", "b")
            await told.until(lambda held: set(held) == {"c"})
    finally:
        await following_it.__aexit__(None, None, None)


async def test_a_log_that_was_pruned_while_a_controller_was_away_is_made_good_by_a_list(folder: Path) -> None:
    async with serving(folder) as api:
        api.store._engine._log_events = 20
        for name in ("a", "b"):
            await api.store.create(CONFIG_MAP, "default", config_map(name))
        wire = Wire(api.server.port)
        async with following(api, wire) as told:
            wire.target = 9
            wire.cut()
            await change(api, "c", "a")
            for number in range(100):
                await api.store.update(CONFIG_MAP, "default", "b", config_map("b", text=str(number)))
            wire.target = api.server.port
            last = (await api.store.get(CONFIG_MAP, "default", "b")).resource_version
            await told.until(lambda held: set(held) == {"b", "c"} and held["b"] == last)
