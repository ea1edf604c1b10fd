"""Other people's registry: docker-registry without TLS, on a port of its own, and what may stand before it."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/registry}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
"""


@asynccontextmanager
async def registry(folder: Path, *, auth: str = "") -> AsyncIterator[str]:
    """``HOST:PORT`` of one that serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(folder=folder, port=port, auth=auth))
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig=KILL", "--", "docker-registry", "serve", config,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while not await _serves(port):
                await asyncio.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def _serves(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


class Guarded:
    """What asks for credentials in front of a registry: a token that is good for a few requests, or a password."""

    USER = "user:canary-password"

    def __init__(self, behind: str, *, basic: bool = False, realm: str = "") -> None:
        self._behind = behind
        self._basic = basic
        self.realm = realm
        self.host = ""
        self._left: dict[str, int] = {}
        self.tokens = 0
        """Given out."""
        self.full = False
        """Whether the second piece of a blob finds no room."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "")
        password = "Basic " + base64.b64encode(self.USER.encode()).decode()
        if request.path == "/token":
            if shown != password or "pull,push" not in request.query["scope"]:
                return web.Response(status=401)
            self.tokens += 1
            self._left[f"Bearer t{self.tokens}"] = 4
            return web.json_response({"token": f"t{self.tokens}"})
        if self._basic:
            if shown != password:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'})
        elif not self._left.get(shown):
            realm = self.realm or f"http://{self.host}/token"
            challenge = f'Bearer realm="{realm}",service="test",scope="repository:{request.path}:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        else:
            self._left[shown] -= 1
        if self.full and not request.headers.get("Content-Range", "0-").startswith("0-"):
            return web.json_response({"errors": [{"message": "no space left on device"}]}, status=507)
        return await self._pass(request)

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        kept = ("Content-Type", "Content-Range", "Range", "Accept")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        url = f"http://{self._behind}{request.raw_path}"
        async with (
            aiohttp.ClientSession() as client,
            client.request(request.method, url, headers=headers, data=await request.content.read()) as answer,
        ):
            given = {
                name: answer.headers[name]
                for name in ("Location", "Content-Type", "Content-Range")
                if name in answer.headers
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=given)


@asynccontextmanager
async def guarded(front: Guarded) -> AsyncIterator[Guarded]:
    async with served(front) as front.host:
        yield front


@asynccontextmanager
async def served(
    handler: Callable[[web.BaseRequest], Coroutine[object, None, web.StreamResponse]],
) -> AsyncIterator[str]:
    """``HOST:PORT`` where ``handler`` answers, without TLS."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
