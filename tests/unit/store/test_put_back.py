"""A cluster that was put back to an earlier state: who watches it begins anew, and is not deaf until then.

The API server here does to watches what a kube-apiserver does: one that begins at a version which it has yet to
reach is accepted, and is sent nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import yaml
from aiohttp import web

from hyperd.errors import Expired
from hyperd.resources.core.kinds import CONFIG_MAP
from hyperd.resources.schema.kind import Object
from hyperd.runtime.informer import Informer
from hyperd.store.kubernetes.store import KubernetesStore


class Server:
    """ConfigMaps at a version."""

    def __init__(self) -> None:
        self.version = 2000
        self.objects: dict[str, Object] = {}
        self._ended = asyncio.Event()
        self._changed: list[asyncio.Queue[bytes]] = []
        self._history: list[bytes] = []
        self.watches = 0
        self.lists = 0
        """Of everything."""

    def put(self, name: str) -> None:
        self.version += 1
        meta = {"name": name, "namespace": "default", "uid": f"{name}-{self.version}"}
        self.objects[name] = {
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {**meta, "resourceVersion": str(self.version)},
        }
        line = orjson.dumps({"type": "ADDED", "object": self.objects[name]}) + b"\n"
        self._history.append(line)
        for queue in self._changed:
            queue.put_nowait(line)

    def restart(self, *, version: int = 0, names: tuple[str, ...] = ()) -> None:
        """All watches end; with ``version`` it holds ``names`` of an earlier state afterwards."""
        if version:
            self.version, self._history = version, []
            self.objects = {name: obj for name, obj in self.objects.items() if name in names}
        self._ended.set()
        self._ended = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "1":
            return await self._watch(request)
        self.lists += "limit" not in request.query
        items = list(self.objects.values())
        meta = {"resourceVersion": str(self.version)}
        return web.json_response({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        since, queue, ended = int(request.query["resourceVersion"]), asyncio.Queue[bytes](), self._ended
        response = web.StreamResponse()
        await response.prepare(request)
        for line in self._history:
            queue.put_nowait(line)
        self._changed.append(queue)
        self.watches += 1
        try:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    line = await asyncio.wait_for(queue.get(), 0.02)
                    if int(orjson.loads(line)["object"]["metadata"]["resourceVersion"]) > since:
                        await response.write(line)
        finally:
            self._changed.remove(queue)
        await response.write_eof()
        return response


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def store(server: Server, tmp_path: Path) -> AsyncIterator[KubernetesStore]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    made = KubernetesStore(path)
    await made.start()
    yield made
    await made.close()
    await runner.cleanup()


async def test_a_watch_of_what_is_yet_to_come_is_refused(store: KubernetesStore, server: Server) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(Expired, match="at resource version 2000, behind 2001: it was restored"):
            async with store.watch(CONFIG_MAP, resource_version="2001"):
                pass
        async with store.watch(CONFIG_MAP, resource_version="2000") as events:
            server.put("a")
            assert (await anext(aiter(events))).item.name == "a"


@pytest.mark.parametrize("back", [0, 300, 2000])
async def test_a_watch_goes_on_where_its_server_did_not_go_back(
    store: KubernetesStore, server: Server, back: int
) -> None:
    async with asyncio.timeout(20), store.watch(CONFIG_MAP, resource_version="2000") as watch:
        events = aiter(watch)
        server.put("a")
        assert (await anext(events)).item.name == "a"
        before = server.watches
        server.restart(version=back)
        waits = asyncio.ensure_future(anext(events))
        if back:
            with pytest.raises(Expired):
                await waits
            return
        while server.watches == before:
            await asyncio.sleep(0.01)
        server.put("b")
        assert (await waits).item.name == "b"


async def test_an_informer_has_the_earlier_state_and_what_comes_after_it(
    store: KubernetesStore, server: Server
) -> None:
    for name in ("old", "late"):
        server.put(name)
    informer = Informer(store, CONFIG_MAP)
    running = asyncio.ensure_future(informer.run())

    async def shows(*names: str) -> None:
        while {item.name for item in informer.items()} != set(names):
            await asyncio.sleep(0.01)

    try:
        async with asyncio.timeout(20):
            await shows("old", "late")
            server.restart(version=300, names=("old",))
            await shows("old")
            server.put("new")
            await shows("old", "new")
            # A server that only starts anew costs its watchers no list of all their objects.
            lists = server.lists
            server.restart()
            server.put("newer")
            await shows("old", "new", "newer")
            assert server.lists == lists
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
