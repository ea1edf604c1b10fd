"""Registries that are busy, silent, cut off or left in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from hyperd.errors import TemporaryError
from registry.importer import Importer
from registry.remote.secret import PULL_FAILED
from tests.unit.registry.remote.shelf import Shelf, archive, digest, gz, member, taken
from tests.unit.registry.world import a_world

LAYER = archive(member("disk/a.img", b"\xeb\x63" + bytes(508) + b"\x55\xaa" + b"\x01" * (8 << 20)))
MANIFEST = "/v2/a/disk/manifests/1"


def blob(layer: bytes = LAYER) -> str:
    return f"/v2/a/disk/blobs/{digest(layer)}"


@pytest.mark.parametrize("path", [MANIFEST, blob(), "/token"])
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_registry_is_asked_again_when_it_says(
    shelf: Shelf, tmp_path: Path, path: str, status: int
) -> None:
    shelf.push(shelf.blob(LAYER))

    async def busy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "7"})

    shelf.routes[path] = busy
    shelf.password = "x" if path == "/token" else ""
    with pytest.raises(TemporaryError, match=f"answers {status}") as waits:
        await taken(shelf, tmp_path)
    assert (waits.value.delay, waits.value.key) == (7, PULL_FAILED)


@pytest.mark.parametrize("path", [MANIFEST, blob(), "/token"])
@pytest.mark.parametrize("begun", [False, True])
async def test_a_silent_registry_is_given_up(shelf: Shelf, tmp_path: Path, path: str, begun: bool) -> None:
    shelf.push(shelf.blob(LAYER))

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(LAYER))})
        if begun:
            await response.prepare(request)
        await asyncio.Event().wait()
        return response

    shelf.routes[path] = silent
    shelf.password = "x" if path == "/token" else ""
    with pytest.raises(TemporaryError, match="sends too slowly: 0 bytes" if begun else "does not answer"):
        await taken(shelf, tmp_path, read_timeout_seconds=0.3, connect_timeout_seconds=0.3)


@pytest.mark.parametrize("pack", [bytes, gz], ids=["plain", "gzip"])
async def test_a_layer_that_is_too_short_is_one_that_ended_early(
    shelf: Shelf, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    layer = pack(LAYER)
    shelf.push(shelf.blob(layer))

    async def short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(layer[: len(layer) // 2])
        return response

    shelf.routes[blob(layer)] = short
    with pytest.raises(TemporaryError, match="ended a layer too early"):
        await taken(shelf, tmp_path)


@pytest.mark.parametrize("pack", [bytes, gz], ids=["plain", "gzip"])
async def test_one_that_is_cancelled_leaves_nothing(
    shelf: Shelf, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    layer = pack(LAYER)
    shelf.push(shelf.blob(layer))
    sent = asyncio.Event()

    async def stalled(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(layer))})
        await response.prepare(request)
        await response.write(layer[: len(layer) // 2])
        sent.set()
        await asyncio.Event().wait()
        return response

    shelf.routes[blob(layer)] = stalled
    (tmp_path / "world").mkdir()
    async with a_world(tmp_path / "world") as world:
        imports = world.settings.imports.model_copy(update={"allowed": (f"127.0.0.1/32:{shelf.port}",)})
        importer = Importer(world.settings.model_copy(update={"imports": imports}), world.client)
        request = replace(
            world.request("/"), source_url="", container_image=shelf.image(), ca_bundle=shelf.ca_bundle
        )
        running = asyncio.create_task(importer.run(request))
        await sent.wait()
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await world.leftovers() == []
