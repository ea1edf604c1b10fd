"""A pool whose file system is full in the middle of a step: a sentence, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import TemporaryError
from hyperd.settings import Settings, StorageSettings
from hyperd.storage.backends.directory import provisioner
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.backends.directory.folder import Folder
from hyperd.storage.interface import Capacity
from tests.contract.volumes import guest
from tests.unit.storage.test_directory import names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")
MIB = 1 << 20
SIZE = 8 * MIB
HELD = bytes([1]) * 4 * MIB + bytes(4 * MIB)
Step = Callable[[DirectoryBackend], Coroutine[Any, Any, object]]


@pytest.fixture
async def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DirectoryBackend]:
    """With a volume ``v`` of 4 MiB, all in what its snapshot ``s`` holds; nobody looks how much room there is."""
    settings = Settings(state_dir=tmp_path, storage=StorageSettings(reserve_bytes=0, overcommit_ratio=0))
    await asyncio.to_thread(settings.volumes_dir.mkdir)
    await asyncio.to_thread(_run, "mount", "-t", "tmpfs", "-o", "size=16m", "none", settings.volumes_dir)
    try:
        backend = DirectoryBackend(settings)
        await backend.start()
        await backend.provisioner.create_blank("v", SIZE)
        await asyncio.to_thread(guest.fill, await backend.attacher.attach("v"), 1, 4 * MIB)
        await backend.attacher.detach("v")
        await take(backend)

        async def plenty(_: object) -> Capacity:
            return Capacity(1 << 40, 1 << 40)

        monkeypatch.setattr(provisioner.DirectoryProvisioner, "capacity", plenty)
        monkeypatch.setattr(Folder, "space", lambda _: (1 << 40, 1 << 40))
        yield backend
    finally:
        await asyncio.to_thread(_run, "umount", settings.volumes_dir)


def _run(*argv: str | Path) -> None:
    subprocess.run(argv, check=True)


async def take(backend: DirectoryBackend, snapshot: str = "s") -> None:
    await backend.provisioner.prepare_snapshot("v", snapshot=snapshot, op_uid="o", in_use=False)
    await backend.provisioner.commit_snapshot("v", snapshot=snapshot, op_uid="o")


def fill(folder: Path) -> Path:
    """All that is left, to the last byte."""
    path = folder / ".filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


async def again(backend: DirectoryBackend) -> None:
    await take(backend, "t")


async def restore(backend: DirectoryBackend) -> None:
    await backend.provisioner.create_from_snapshot("w", SIZE, snapshot="s")


async def clone(backend: DirectoryBackend) -> None:
    await backend.provisioner.clone("w", source="v", op_uid="o")


async def blank(backend: DirectoryBackend) -> None:
    await backend.provisioner.create_blank("w", SIZE)


async def read(backend: DirectoryBackend, uid: str = "v") -> bytes:
    content = await asyncio.to_thread(_read, str((await backend.attacher.attach(uid)).path))
    await backend.attacher.detach(uid)
    return content


def _read(path: str) -> bytes:
    """Not beside the file: there is no room."""
    target = Path(path).parent.parent / ".content"
    _run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, target)
    content = target.read_bytes()
    target.unlink()
    return content


@pytest.mark.parametrize("step", [again, restore, clone, blank])
async def test_what_is_made_fails_in_a_sentence_and_is_made_once_there_is_room(
    pool: DirectoryBackend, step: Step
) -> None:
    folder = pool.attacher._folder.path
    before = sorted(names(folder))
    filler = await asyncio.to_thread(fill, folder)
    with pytest.raises(TemporaryError, match=r"[Nn]o space left"):
        await step(pool)
    await asyncio.to_thread(filler.unlink)
    left = {name for name in names(folder) if name not in before and not name.endswith(".preparing")}
    assert left == set()
    assert await read(pool) == HELD
    await step(pool)
    assert await read(pool) == HELD


async def test_a_merge_that_finds_no_room_loses_nothing(pool: DirectoryBackend) -> None:
    folder, volumes = pool.attacher._folder.path, pool.provisioner
    await volumes.delete_snapshot("s")
    filler = await asyncio.to_thread(fill, folder)
    assert await volumes.merges(()) == []
    assert await read(pool) == HELD
    assert await volumes.merges(()) == []
    await asyncio.to_thread(filler.unlink)
    assert await read(pool) == HELD
    assert await volumes.merges(()) == []
    assert names(folder) == ["v.s.qcow2"]
    assert await read(pool) == HELD
