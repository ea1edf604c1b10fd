"""The registry is killed at each request of an import and of a pull: what was begun fails with a reason, leaves
nothing, and is done by the next try.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperd.errors import HyperdError, InternalError, NotFound, ServiceUnavailable, TemporaryError
from registry import tree
from registry.client import RegistryClient
from tests.unit.registry.world import World, a_world, files_in, in_two_parts, some_bytes

pytestmark = pytest.mark.loop_seconds(1, "the tests serve whole images")

MIB = 1 << 20
IMAGE = b"\xeb\x63\x90" + bytes(range(256)) * (4 * 12 * 1024)
PASSING = (TemporaryError, ServiceUnavailable, InternalError)
"""What is tried again."""
STEPS = {
    "GET manifests": 2,
    "POST uploads": 2,
    "PATCH uploads": 2,
    "PUT uploads": 2,
    "PUT manifests": 1,
    "GET blobs/sha256": 2,
}
"""How often each is asked by an import and a pull of its image."""


class Killer:
    """Kills the registry when the wanted request is about to be sent, or was answered."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self._world = world
        self.seen: dict[str, int] = {}
        self.wanted: tuple[str, int, str] | None = None
        original = RegistryClient.request

        @asynccontextmanager
        async def request(
            client: RegistryClient, method: str, url: Any, *access: Any, **more: Any
        ) -> AsyncIterator[aiohttp.ClientResponse]:
            asked = re.search("/(manifests|uploads|blobs/sha256)", url.path)
            step = f"{method} {asked[1] if asked else ''}"
            if client is not world.client:
                async with original(client, method, url, *access, **more) as response:
                    yield response
                return
            number = self.seen[step] = self.seen.get(step, 0) + 1
            await self._kill(step, number, "before")
            try:
                async with original(client, method, url, *access, **more) as response:
                    await self._kill(step, number, "after")
                    yield response
            except NotFound:
                await self._kill(step, number, "after")
                raise

        monkeypatch.setattr(RegistryClient, "request", request)

    async def _kill(self, step: str, number: int, when: str) -> None:
        if self.wanted == (step, number, when):
            self.wanted = None
            await kill(self._world)


async def kill(world: World) -> None:
    process = world.server._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.exited()


async def healthy_again(world: World) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await world.client.ping()
            except HyperdError:
                await asyncio.sleep(0.05)


async def until_done(world: World, name: str) -> Path:
    """The image on this node, imported and pulled, again after what passes."""
    told: list[str] = []
    while len(told) < 3:
        try:
            got = await world.load("/a", name=name, uid=name)
            return (await world.cache.ensure(got.reference)).path
        except PASSING as err:
            told.append(err.message)
        left = [one for one in files_in(world.settings.images_dir) if one.startswith(".")]
        assert (left, told[-1][-1]) == ([], "."), told
        await healthy_again(world)
    raise AssertionError(told)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_a_killed_registry_was_asked_is_done_by_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async with a_world(tmp_path) as world:
        killer = Killer(world, monkeypatch)
        world.source.routes["/a"] = IMAGE
        await until_done(world, "untouched")
        assert killer.seen == STEPS, "a step that is new needs no more than its line"
        for number, step in enumerate((step, n) for step, times in STEPS.items() for n in range(1, times + 1)):
            name = f"image{number}"
            killer.seen, killer.wanted = {}, (*step, when)
            for path in world.settings.images_dir.iterdir():
                path.unlink()
            path = await until_done(world, name)
            assert killer.wanted is None, f"{step} was not asked"
            assert path.read_bytes() == IMAGE
            assert await world.client.tags(f"vi/ns/{name}") == [name]
        assert await asyncio.to_thread(tree.uploads, world.settings.registry_dir) == []
        assert len(await world.client.catalog()) == 1 + sum(STEPS.values())
        assert len(files_in(world.settings.images_dir)) == 1


async def test_a_registry_that_is_killed_in_the_midst_of_the_bytes_has_none_of_them(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        kills = iter([True, False])

        async def once_bytes_came() -> None:
            if next(kills):
                await some_bytes(world.settings)
                await kill(world)

        world.source.routes["/a"] = in_two_parts(IMAGE, once_bytes_came)
        with pytest.raises(PASSING):
            await world.load("/a")
        await healthy_again(world)
        assert await world.leftovers() == []
        assert (await world.cache.ensure((await world.load("/a")).reference)).path.read_bytes() == IMAGE
        assert await asyncio.to_thread(tree.uploads, world.settings.registry_dir) == []
