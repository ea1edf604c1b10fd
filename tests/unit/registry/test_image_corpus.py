"""Every image of ``tests/corpus/images`` through a real import."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hyperd.errors import PermanentError
from tests.unit.registry.corpus import MIB, build, cases
from tests.unit.registry.world import World

pytestmark = pytest.mark.loop_seconds(1, "the tests serve whole images")

_MEMORY_MIB = 64
_SECONDS = 60.0


class Watched:
    """What an import took: at most so many bytes of disk and memory, so many seconds."""

    disk = memory = 0
    seconds = 0.0


def _allocated(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    """What happens in ``folder`` and this process until the block ends."""
    seen = Watched()
    before, resident = _allocated(folder), _status("VmRSS")
    _forget_peak()
    started = time.monotonic()

    async def look() -> None:
        while True:
            seen.disk = max(seen.disk, await asyncio.to_thread(_allocated, folder) - before)
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        seen.seconds = time.monotonic() - started
        seen.memory = _status("VmHWM") - resident


def serving(data: bytes, headers: dict[str, str]) -> Any:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=data, headers={"Content-Type": "application/octet-stream", **headers})

    return answer


@pytest.mark.parametrize("case", cases("images"), ids=lambda case: case["name"])
async def test_an_image_of_the_corpus(world: World, tmp_path: Path, case: dict[str, Any]) -> None:
    made = tmp_path / "made"
    made.mkdir()
    served, inside = await asyncio.to_thread(build, case, made)
    world.source.routes["/a"] = serving(served, case.get("headers", {}))
    checksums = {}
    if "checksum" in case:
        digested = served if case["checksum"] == "served" else inside
        checksums["sha256"] = hashlib.sha256(digested).hexdigest()
    async with watched(world.settings.state_dir) as seen:
        if "refused" in case:
            with pytest.raises(PermanentError, match=case["refused"]):
                await world.load("/a", **checksums)
        else:
            got = await world.load("/a", **checksums)
    if "refused" in case:
        assert await world.leftovers() == []
    else:
        assert got.format.value == case["becomes"]
        assert bool(got.warning) == case.get("warns", False)
    assert seen.disk <= case.get("growth_mib", 32 + 3 * len(served) / MIB) * MIB
    assert seen.memory <= _MEMORY_MIB * MIB
    assert seen.seconds <= _SECONDS
