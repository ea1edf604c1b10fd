"""A daemon one of whose folders is full, or whose registry dies: each object says so, and ends Ready later."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hyperd.controllers import retries
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.storage import poolmark
from hyperd.storage.backends.directory import origins
from registry import tree
from registry.images import NodeImages
from tests.host.registry.test_full_disk import grow, small_disk
from tests.unit.controllers.world import World, running
from tests.unit.registry.world import WebServer, files_in, in_two_parts, some_bytes, web_server

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
MIB = 1 << 20
IMAGE = b"\xeb\x63\x90" + b"\x01" * (16 * MIB - 3)


@asynccontextmanager
async def daemon(state: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, WebServer]]:
    """One that tries again soon."""
    monkeypatch.setattr(retries, "FIRST_SECONDS", 0.3)
    monkeypatch.setattr(retries, "LAST_SECONDS", 0.5)
    monkeypatch.setattr(retries, "SOON_SECONDS", 0.5)
    async with web_server() as source:
        source.routes["/a"] = IMAGE
        allowed = {"allowed": [f"127.0.0.1/32:{source.port}"]}
        async with running(registry={"url": ""}, imports=allowed, state_dir=state) as world:
            yield world, source


async def make(world: World, source: WebServer) -> None:
    """An image, and a disk of it."""
    of_web: Object = {"type": "HTTP", "http": {"url": source.url("/a")}}
    image: Object = {"metadata": {"name": "a"}, "spec": {"storage": "ContainerRegistry", "dataSource": of_web}}
    of_image: Object = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "a"}}
    disk: Object = {"metadata": {"name": "a"}, "spec": {"dataSource": of_image}}
    await world.store.create(VIRTUAL_IMAGE, "default", image)
    await world.store.create(VIRTUAL_DISK, "default", disk)


def says(*words: str) -> Callable[[Object], bool]:
    """Whether a condition that is not True has one of the words."""

    def said(obj: Object) -> bool:
        told = (obj.get("status") or {}).get("conditions") or ()
        return any(word in one.get("message", "") for one in told if one["status"] != "True" for word in words)

    return said


async def ends_well_and_leaves_nothing(world: World) -> None:
    for kind in (VIRTUAL_IMAGE, VIRTUAL_DISK):
        await world.phase("Ready", kind, "a")
    for kind in (VIRTUAL_DISK, VIRTUAL_IMAGE):
        await world.store.delete(kind, "default", "a")
        await world.gone(kind, "a")
    await world.settled()
    await world.collect()
    settings = world.settings
    assert await world.kept() == {}
    assert tree.uploads(settings.registry_dir) == []
    assert list(tree.repositories(settings.registry_dir)) == []
    assert [name for name in files_in(settings.images_dir) if not name.endswith(".img")] == []
    assert files_in(settings.volumes_dir / origins.FOLDER) == []
    assert set(files_in(settings.volumes_dir)) == {poolmark.FILE, origins.FOLDER}


@pytest.mark.parametrize(("folder", "kind"), [("registry", VIRTUAL_IMAGE), ("images", VIRTUAL_DISK)])
async def test_what_finds_no_room_says_so_and_is_done_once_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, kind: Kind
) -> None:
    with small_disk(tmp_path / "s" / folder, 8) as disk:
        async with daemon(tmp_path / "s", monkeypatch) as (world, source):
            await make(world, source)
            await world.until(says("no space", "are free", "is full"), kind, "a")
            grow(disk, 64)
            await ends_well_and_leaves_nothing(world)


async def test_a_pool_without_room_says_so_and_makes_the_disk_once_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "s" / "volumes", 4) as disk:
        async with daemon(tmp_path / "s", monkeypatch) as (world, source):
            filler = disk / ".filler"
            room = os.statvfs(disk)
            filler.write_bytes(b"\x01" * (room.f_bavail * room.f_frsize))
            await make(world, source)
            await world.until(says("No space", "no space", "are free"), VIRTUAL_DISK, "a")
            filler.unlink()
            await ends_well_and_leaves_nothing(world)


async def test_a_registry_that_dies_under_an_import_and_under_a_pull_costs_a_try_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with daemon(tmp_path / "s", monkeypatch) as (world, source):
        images = world._daemon._context.images
        assert isinstance(images, NodeImages)
        deaths = iter([True, False])

        async def once_bytes_came() -> None:
            if next(deaths):
                await some_bytes(world.settings)
                kill(images)

        pull, pulls = images._cache._pull, iter([True, False])

        async def killed(*args: Any) -> None:
            if next(pulls):
                kill(images)
            await pull(*args)

        monkeypatch.setattr(images._cache, "_pull", killed)
        source.routes["/a"] = in_two_parts(IMAGE, once_bytes_came)
        await make(world, source)
        await world.until(says("registry"), VIRTUAL_IMAGE, "a")
        await ends_well_and_leaves_nothing(world)
        assert (next(deaths, None), next(pulls, None)) == (None, None)


def kill(images: NodeImages) -> None:
    assert images._server is not None
    assert images._server._process is not None
    os.kill(images._server._process.pid, signal.SIGKILL)
