"""The node's cache of images: what goes from it, and what keeps which file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.host.cache import Cache
from hyperd.controllers.host.strangers import Strangers
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.resources.schema.kind import Object
from hyperd.settings import Settings
from hyperd.storage.backends import backends
from hyperd.storage.departures import Departures
from hyperd.storage.volumes import BackendVolumes
from registry.images import NodeImages

MIB = 1 << 20


def settings(folder: Path, **imports: float) -> Settings:
    values = {"state_dir": folder, "registry": {"url": "http://127.0.0.1:9"}, "imports": imports}
    return Settings.model_validate({**values, "storage": {"reserve_bytes": 0}})


def cache_of(settings: Settings, machines: Sequence[Object] = ()) -> Cache:
    """Over real images and volumes, and ``machines``."""
    items = [SimpleNamespace(object=lambda machine=machine: machine) for machine in machines]
    informer = SimpleNamespace(items=lambda: items)
    context = SimpleNamespace(
        settings=settings,
        images=NodeImages(settings),
        volumes=BackendVolumes(backends(settings), Departures(settings.departures_dir)),
        informer=lambda _: informer,
    )
    return Cache(cast(Context, context), cast(Strangers, SimpleNamespace(domains=())))


def image(settings: Settings, name: str, *, age: float) -> Path:
    """One of 1 MiB that nobody touched for ``age`` seconds."""
    settings.images_dir.mkdir(parents=True, exist_ok=True)
    path = settings.images_dir / f"{name * 64}.img"
    path.write_bytes(os.urandom(MIB))
    touched = path.stat().st_mtime - age
    os.utime(path, (touched, touched))
    return path


@asynccontextmanager
async def guest(path: Path) -> AsyncIterator[None]:
    """QEMU has the image open for reading."""
    process = await asyncio.create_subprocess_exec(
        "qemu-io", "-r", "-f", "raw", path, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdout.readuntil(b"qemu-io>")
        yield
    finally:
        process.stdin.close()
        await process.wait()


def there(settings: Settings) -> str:
    return "".join(sorted(path.name[0] for path in settings.images_dir.iterdir()))


async def test_what_a_guest_has_open_stays_and_the_others_go(tmp_path: Path) -> None:
    node = settings(tmp_path, cache_retention_seconds=0)
    used, _ = image(node, "a", age=7200), image(node, "b", age=7200)
    machine = {
        "status": {"phase": "Running"},
        "spec": {"blockDeviceRefs": [{"kind": "VirtualImage", "name": "i"}]},
    }
    cache = cache_of(node, [machine])
    async with guest(used):
        await cache.sweep()
        assert there(node) == "a"
    await cache.sweep()
    assert there(node) == ""


async def test_what_a_volume_overlays_stays(tmp_path: Path) -> None:
    node = settings(tmp_path, cache_retention_seconds=0)
    used, _ = image(node, "a", age=7200), image(node, "b", age=7200)
    volumes = BackendVolumes(backends(node), Departures(node.departures_dir))
    await volumes.start()
    own = volumes.provisioner(volumes.provisioners[0])
    await own.create_from_image("u1", MIB, image=FileHandle(used, DiskFormat.RAW))
    await cache_of(node).sweep()
    assert there(node) == "a"


async def test_beyond_its_size_the_longest_unused_goes_first(tmp_path: Path) -> None:
    node = settings(tmp_path, cache_bytes=2 * MIB + MIB // 2)
    for name, age in (("a", 300), ("b", 100), ("c", 200)):
        image(node, name, age=age)
    oldest = node.images_dir / f"{'a' * 64}.img"
    async with guest(oldest):
        await cache_of(node).sweep()
    assert there(node) == "ab", "one is enough, and not the one that is in use"
    await cache_of(node).sweep()
    assert there(node) == "ab"


@pytest.mark.parametrize("phase", ["Pending", "Starting", "Stopped"])
async def test_what_was_touched_for_a_start_waits_for_it(tmp_path: Path, phase: str) -> None:
    node = settings(tmp_path, cache_retention_seconds=0)
    image(node, "a", age=0)
    image(node, "b", age=7200)
    refs = {"blockDeviceRefs": [{"kind": "VirtualImage", "name": "i"}]}
    await cache_of(node, [{"status": {"phase": phase}, "spec": refs}]).sweep()
    assert there(node) == ("" if phase == "Stopped" else "a")
