"""A proxy before a real API server that breaks watches, as servers and networks do, and lets all else pass."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import yaml
from aiohttp import web

from tests.cluster.controlplane.plane import ControlPlane

GONE = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "too old resource version: 1 (2)",
    "reason": "Expired",
    "code": 410,
}
_HOP = ("transfer-encoding", "content-length", "connection", "content-encoding")


class Meddler:
    """What it does to watches may change at any time; ``broken`` counts what it did."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session
        self.double = False
        """Send every event twice."""
        self.gone_at_start = 0
        """Answer 410 to so many watches."""
        self.gone_midway = 0
        """End so many watches with a 410 event instead of their next one, which nobody ever gets."""
        self.broken = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") == "1"
        if watch and self.gone_at_start:
            self.gone_at_start -= 1
            self.broken += 1
            return web.json_response(GONE, status=410)
        headers = {key: value for key, value in request.headers.items() if key not in ("Host", "Connection")}
        async with self._session.request(
            request.method, self.url + request.raw_path, data=await request.read(), headers=headers
        ) as answer:
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            if watch and answer.status == 200:
                await self._watch(answer, response)
            else:
                await response.write(await answer.read())
            await response.write_eof()
            return response

    async def _watch(self, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        async for line in answer.content:
            if self.gone_midway:
                self.gone_midway -= 1
                self.broken += 1
                await response.write(orjson.dumps({"type": "ERROR", "object": GONE}) + b"\n")
                return
            await response.write(line * (2 if self.double else 1))
            self.broken += self.double


@asynccontextmanager
async def meddling(plane: ControlPlane, folder: Path) -> AsyncIterator[tuple[Meddler, Path]]:
    """The proxy, and a kubeconfig that leads through it."""
    context = ssl.create_default_context(cafile=str(plane.authority.certificate))
    context.load_cert_chain(plane.admin.certificate, plane.admin.key)
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        meddler = Meddler(plane.url, session)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", meddler.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        config = yaml.safe_load(plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        config["users"][0]["user"] = {}
        path = folder / "meddled.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        try:
            yield meddler, path
        finally:
            await runner.cleanup()
