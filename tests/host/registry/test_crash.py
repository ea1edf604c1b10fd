"""``kill -9`` between any two steps from the source to the disk, then another life."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
from pathlib import Path

import pytest

from hyperd.crashpoints import CrashPoint
from hyperd.storage import poolmark
from hyperd.storage.backends.directory import origins
from hyperd.storage.backends.directory.folder import Folder
from registry import tree
from registry.client import RegistryClient
from registry.server import EmbeddedRegistry
from tests.unit.registry.world import WebServer, files_in, qcow2_bytes, settings_in, web_server

# What the victim of these tests does; growing a disk is killed under a daemon, in tests/host/machine.
POINTS = [
    point
    for point in CrashPoint
    if point.split(".")[0] in ("import", "cache", "disk") and point is not CrashPoint.DISK_AFTER_GROW
]


async def live(folder: Path, source: WebServer, path: str, *, crash_at: str = "") -> int:
    argv = [sys.executable, "-m", "tests.host.registry.victim", str(folder), str(source.port), path]
    process = await asyncio.create_subprocess_exec(*argv, env={**os.environ, "HYPERD_CRASH_AT": crash_at})
    return await process.wait()


def test_every_crash_point_of_images_and_disks_is_tried() -> None:
    assert len(POINTS) >= 6


@pytest.mark.parametrize("packed", [False, True], ids=["streamed", "spooled"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_import_is_done_by_the_next_life_and_leaves_nothing(
    tmp_path: Path, point: CrashPoint, packed: bool
) -> None:
    image = await qcow2_bytes(tmp_path)
    settings = settings_in(tmp_path)
    async with web_server() as source:
        source.routes["/image"] = gzip.compress(image) if packed else image
        assert await live(tmp_path, source, "/image", crash_at=point) == -signal.SIGKILL
        assert await live(tmp_path, source, "/image") == 0
    server = EmbeddedRegistry(settings)
    client = RegistryClient(server.endpoint, settings)
    await server.start()
    try:
        assert await client.catalog() == ["vi/ns/image"]
        assert await client.tags("vi/ns/image") == ["u1"]
        assert tree.uploads(settings.registry_dir) == []
        (cached,) = settings.images_dir.iterdir()
        assert cached.read_bytes() == image
        assert files_in(settings.volumes_dir) == [poolmark.FILE, origins.FOLDER, "d1.qcow2"]
        assert files_in(settings.volumes_dir / origins.FOLDER) == ["d1"]
        (volume,) = Folder(settings.volumes_dir).tree().tops()
        assert volume.backing is not None
        assert (volume.backing.path, volume.virtual_size) == (cached, 4 << 20)
    finally:
        await client.close()
        await server.stop()


async def test_a_source_is_not_asked_again_for_what_was_tagged_before_the_crash(tmp_path: Path) -> None:
    async with web_server() as source:
        source.routes["/image"] = await qcow2_bytes(tmp_path)
        assert await live(tmp_path, source, "/image", crash_at=CrashPoint.IMPORT_AFTER_TAG) == -signal.SIGKILL
        assert await live(tmp_path, source, "/image") == 0
        assert source.requests == ["/image"]
    settings = settings_in(tmp_path)
    server = EmbeddedRegistry(settings)
    await server.start()
    await server.stop()
