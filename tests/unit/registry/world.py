"""A small world for image tests: a hostile or honest HTTP source, a real registry, a client."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from hyperd.settings import ImportSettings, Settings, StorageSettings
from registry import tree
from registry.cache import ImageCache
from registry.client import RegistryClient
from registry.importer import Importer
from registry.models import ImportedImage, ImportRequest
from registry.server import EmbeddedRegistry

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class WebServer:
    """A server on loopback; ``routes`` maps a path to bytes or to a handler."""

    routes: dict[str, bytes | Handler] = field(default_factory=dict)
    port: int = 0
    requests: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        found = self.routes.get(request.path, self.routes.get("*"))
        if found is None:
            raise web.HTTPNotFound
        if isinstance(found, bytes):
            return web.Response(body=found, content_type="application/octet-stream")
        return await found(request)


@asynccontextmanager
async def web_server() -> AsyncIterator[WebServer]:
    server = WebServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


@dataclass
class World:
    """Source, registry and what works between them, in one folder."""

    settings: Settings
    source: WebServer
    server: EmbeddedRegistry
    client: RegistryClient
    cache: ImageCache
    importer: Importer

    async def load(self, path: str, *, uid: str = "u1", name: str = "image", **checksums: str) -> ImportedImage:
        return await self.importer.run(self.request(path, uid=uid, name=name, **checksums))

    def request(self, path: str, *, uid: str = "u1", name: str = "image", **checksums: str) -> ImportRequest:
        url = path if "://" in path else self.source.url(path)
        return ImportRequest(uid, url, f"vi/ns/{name}", uid, checksums)

    async def leftovers(self) -> list[str]:
        """What a failed import must not leave: tags, uploads, files."""
        tags = [f"{name}:{tag}" for name in await self.client.catalog() for tag in await self.client.tags(name)]
        uploads = [str(path) for path in await asyncio.to_thread(tree.uploads, self.settings.registry_dir)]
        return tags + uploads + files_in(self.settings.images_dir)


def in_two_parts(content: bytes, between: Callable[[], Awaitable[None]]) -> Handler:
    """Serves ``content``, of which 8 MiB come before ``between``, and the rest after it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: 8 << 20])
        await between()
        await response.write(content[8 << 20 :])
        return response

    return answer


async def some_bytes(settings: Settings) -> None:
    """Return once the registry has got some of an upload."""
    while not any(path.stat().st_size for path in settings.registry_dir.rglob("data")):
        await asyncio.sleep(0.01)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def settings_in(folder: Path, *, port: int = 0, reserve: int = 0, **imports: Any) -> Settings:
    allowed = (f"127.0.0.1/32:{port}",) if port else ()
    return Settings(
        state_dir=folder / "state",
        run_dir=folder / "run",
        log_dir=folder / "log",
        imports=ImportSettings(allowed=allowed, **imports),
        storage=StorageSettings(reserve_bytes=reserve),
    )


@asynccontextmanager
async def a_world(folder: Path, **imports: Any) -> AsyncIterator[World]:
    async with web_server() as source:
        settings = settings_in(folder, port=source.port, **imports)
        server = EmbeddedRegistry(settings)
        client = RegistryClient(server.endpoint, settings)
        cache = ImageCache(settings, client)
        await cache.clean()
        await server.start()
        try:
            yield World(settings, source, server, client, cache, Importer(settings, client))
        finally:
            await client.close()
            await server.stop()


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


async def qcow2_bytes(folder: Path, *, size: int = 4 << 20, data: int = 1 << 20) -> bytes:
    """A sound qcow2 of ``size`` virtual bytes that holds ``data`` bytes that do not compress."""
    return await asyncio.to_thread(_qcow2_bytes, folder, size, data)


def _qcow2_bytes(folder: Path, size: int, data: int) -> bytes:
    raw, image = folder / "made.raw", folder / "made.qcow2"
    with raw.open("wb") as file, open("/dev/urandom", "rb") as random:
        file.write(random.read(data))
        file.truncate(size)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, image)
    return image.read_bytes()
