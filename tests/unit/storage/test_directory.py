"""What is the directory pool's own; what it shares with every backend is in tests/contract/volumes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import files
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.settings import Settings, StorageSettings
from hyperd.storage import poolmark
from hyperd.storage.backends.directory import origins, provisioner
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.backends.directory.folder import FORMAT
from hyperd.storage.backends.directory.provisioner import DirectoryProvisioner
from hyperd.storage.interface import BUSY

MIB = 1 << 20


def info(path: Path) -> dict[str, Any]:
    argv = ["qemu-img", "info", "--output=json", "-f", "qcow2", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return found


def make_image(path: Path, format_: DiskFormat) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", format_, path, "1M"], check=True)


def names(folder: Path) -> list[str]:
    """Of the files there, but what says what the folder and the volumes are."""
    return [name for name in os.listdir(folder) if name not in (poolmark.FILE, origins.FOLDER)]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def pool_in(folder: Path, **storage: Any) -> DirectoryProvisioner:
    backend = DirectoryBackend(Settings(state_dir=folder, storage=StorageSettings(**storage)))
    await backend.start()
    return backend.provisioner


@pytest.fixture
async def pool(tmp_path: Path) -> DirectoryProvisioner:
    return await pool_in(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Settings(state_dir=tmp_path).volumes_dir


async def test_a_blank_volume_is_a_sparse_qcow2_named_by_its_uid(pool: DirectoryProvisioner, folder: Path) -> None:
    volume = await pool.create_blank("u1", 10 << 30)
    assert volume.virtual_size == 10 << 30
    assert volume.allocated < MIB
    path = folder / "u1.qcow2"
    assert info(path)["virtual-size"] == 10 << 30
    assert [mode(one) for one in (path, folder)] == [0o600, 0o711]


@pytest.mark.parametrize("format_", DiskFormat)
async def test_an_overlay_reads_its_base_in_the_format_that_was_said(
    pool: DirectoryProvisioner, folder: Path, tmp_path: Path, format_: DiskFormat
) -> None:
    base = tmp_path / "base with spaces: and,commas"
    make_image(base, format_)
    volume = await pool.create_from_image("u1", 4 * MIB, image=FileHandle(base, format_))
    assert volume.virtual_size == 4 * MIB
    assert await pool.reads(base)
    assert not await pool.reads(tmp_path / "other")
    described = info(folder / "u1.qcow2")
    assert (described["backing-filename"], described["backing-filename-format"]) == (str(base), format_)


async def test_only_a_file_can_be_overlaid(pool: DirectoryProvisioner) -> None:
    with pytest.raises(PermanentError, match="over /dev/vg/a: the image must be a file"):
        await pool.create_from_image("u1", MIB, image=BlockHandle(Path("/dev/vg/a"), DiskFormat.RAW))


async def test_creating_twice_keeps_what_the_first_time_made(pool: DirectoryProvisioner, folder: Path) -> None:
    first = await pool.create_blank("u1", MIB)
    inode = (folder / "u1.qcow2").stat().st_ino
    assert await pool.create_blank("u1", 5 * MIB) == first
    assert (folder / "u1.qcow2").stat().st_ino == inode


async def test_the_inventory_is_what_the_folder_shows_damaged_files_included(
    pool: DirectoryProvisioner, folder: Path
) -> None:
    await pool.create_blank("u1", MIB)
    (folder / "u2.qcow2").write_bytes(b"not a qcow2")
    assert [(v.uid, v.virtual_size) for v in await pool.inventory()] == [("u1", MIB), ("u2", 0)]
    with pytest.raises(PermanentError, match="no qcow2 image"):
        await pool.find("u2")
    assert await pool.reads(Path("/any")), "a damaged one may overlay anything"


async def test_a_start_removes_temporary_files_and_nothing_else(
    pool: DirectoryProvisioner, folder: Path, tmp_path: Path
) -> None:
    await pool.create_blank("u1", MIB)
    (folder / ".u2.qcow2.new").write_bytes(b"half")
    (folder / "u1.s1@s1.preparing").touch()
    await pool_in(tmp_path)
    assert names(folder) == ["u1.qcow2"]
    await snapshot(await pool_in(tmp_path), "s2")


async def test_no_volume_is_made_of_the_reserve(tmp_path: Path) -> None:
    pool = await pool_in(tmp_path, reserve_bytes=1 << 60)
    assert (await pool.capacity()).available == 0
    with pytest.raises(TemporaryError, match=r"storage\.reserve_bytes"):
        await pool.create_blank("u1", MIB)
    assert await pool.inventory() == []


async def test_no_more_is_promised_to_disks_than_the_setting_allows(tmp_path: Path) -> None:
    pool = await pool_in(tmp_path, reserve_bytes=0, overcommit_ratio=2.0)
    there = os.statvfs(tmp_path)
    limit = there.f_blocks * there.f_frsize * 2
    with pytest.raises(PermanentError, match=r"too large: disks may have .* \(setting storage.overcommit_ratio\)"):
        await pool.create_blank("huge", 1 << 50)
    third = limit // 3
    results = await asyncio.gather(
        *(pool.create_blank(f"u{number}", third - MIB) for number in range(6)), return_exceptions=True
    )
    assert sum(not isinstance(one, BaseException) for one in results) == 3
    assert all(isinstance(one, TemporaryError) for one in results if isinstance(one, BaseException))
    made = next(one.uid for one in results if not isinstance(one, BaseException))
    for in_use in (False, True):
        with pytest.raises(TemporaryError, match="No room for a disk"):
            await pool.grow(made, third * 2, in_use=in_use)
    await pool.delete(made)
    assert (await pool.create_blank("later", third - MIB)).virtual_size
    unlimited = await pool_in(tmp_path, overcommit_ratio=0)
    assert (await unlimited.create_blank("huge", 1 << 50)).virtual_size == 1 << 50


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE, errno.ENOMEM])
async def test_a_host_that_cannot_read_a_volume_now_is_asked_again(
    pool: DirectoryProvisioner, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    made = await pool.create_blank("u1", MIB)

    def refuses(path: Path) -> BinaryIO:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as host:
        host.setattr(files, "open_regular", refuses)
        with pytest.raises(TemporaryError, match=re.escape(os.strerror(number))):
            await pool.find("u1")
    assert await pool.find("u1") == made


async def test_what_is_no_file_is_no_volume_for_good(pool: DirectoryProvisioner, folder: Path) -> None:
    (folder / "u1.qcow2").mkdir()
    os.mkfifo(folder / "u2.qcow2")
    (folder / "u3.qcow2").symlink_to(folder / "u3.qcow2")
    for uid in ("u1", "u2", "u3"):
        with pytest.raises(PermanentError, match="cannot be read"):
            await pool.find(uid)


def write(path: Path) -> None:
    argv = ["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", str(path)]
    subprocess.run(argv, check=True, capture_output=True)


async def snapshot(pool: DirectoryProvisioner, name: str, *, of: str = "u1") -> None:
    await pool.prepare_snapshot(of, snapshot=name, op_uid="o", in_use=False)
    await pool.commit_snapshot(of, snapshot=name, op_uid="o")


async def test_a_volume_has_no_more_layers_than_a_guest_can_start_with(
    pool: DirectoryProvisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioner, "_MOST_LAYERS", 3)
    await pool.create_blank("u1", MIB)
    await snapshot(pool, "s1")
    await snapshot(pool, "s2")
    with pytest.raises(PermanentError, match="Volume u1 has 3 layers, and 3 are the most"):
        await snapshot(pool, "s3")
    await snapshot(pool, "s2")  # what was taken is found again
    assert await pool.find_snapshot("s3") is None
    await pool.create_from_snapshot("u2", MIB, snapshot="s2")
    with pytest.raises(PermanentError, match="Volume u2 has 3 layers"):
        await snapshot(pool, "s4", of="u2")


@pytest.mark.parametrize("fault", [errno.EIO, errno.EMFILE, "damaged", "moved away"])
async def test_nothing_is_freed_that_a_layer_which_cannot_be_read_may_need(
    pool: DirectoryProvisioner, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int | str
) -> None:
    await pool.create_blank("u1", MIB)
    await snapshot(pool, "s1")
    top, whole = folder / "u1.s1.qcow2", files.open_regular

    def refuses(path: Path) -> BinaryIO:
        if path == top and isinstance(fault, int):
            raise OSError(fault, os.strerror(fault), str(path))
        return whole(path)

    with monkeypatch.context() as host:
        host.setattr(files, "open_regular", refuses)
        kept = top.read_bytes()
        if fault == "damaged":
            top.write_bytes(b"\0" * 4096)
        if fault == "moved away":
            top.unlink()
            top.symlink_to(tmp_path / "not mounted")
        await pool.delete_snapshot("s1")
        assert await pool.merges(()) == []
        assert (folder / "u1.qcow2").exists(), "the top is read from it"
        assert await pool.reads(tmp_path / "any")
    top.unlink()
    top.write_bytes(kept)
    assert await pool.merges(()) == []
    assert names(folder) == ["u1.s1.qcow2"]
    assert "backing-filename" not in info(top)


async def test_a_folder_that_cannot_be_listed_now_is_not_an_empty_one(
    pool: DirectoryProvisioner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.create_blank("u1", MIB)
    await snapshot(pool, "s1")

    def refuses(path: Path) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    with monkeypatch.context() as host:
        host.setattr(os, "listdir", refuses)
        for ask in (pool.reads(tmp_path / "image"), pool.inventory(), pool.find_snapshot("s1")):
            with pytest.raises(TemporaryError, match="cannot be listed: Too many open files"):
                await ask
    assert await pool.find_snapshot("s1") is not None


async def test_a_guest_s_start_looks_at_no_volume_but_its_own(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = DirectoryBackend(Settings(state_dir=tmp_path, storage=StorageSettings(reserve_bytes=0)))
    await backend.start()
    make_image(tmp_path / "image", DiskFormat.QCOW2)
    for number in range(6):
        image = FileHandle(tmp_path / "image", DiskFormat.QCOW2)
        await backend.provisioner.create_from_image(f"v{number}", MIB, image=image)
    opened: list[Path] = []
    whole = files.open_regular

    def counted(path: Path) -> BinaryIO:
        opened.append(path)
        return whole(path)

    monkeypatch.setattr(files, "open_regular", counted)
    assert (await backend.attacher.attach("v3")).path == folder / "v3.qcow2"
    assert set(opened) <= {folder / "v3.qcow2", folder / origins.FOLDER / "v3"}


async def test_what_a_guest_was_told_to_open_becomes_no_snapshot_and_is_not_taken_back(tmp_path: Path) -> None:
    backend = DirectoryBackend(Settings(state_dir=tmp_path))
    await backend.start()
    pool, attacher = backend.provisioner, backend.attacher
    await pool.create_blank("u1", MIB)
    await attacher.attach("u1")
    # The guest of before was seen; this one has not begun yet, and will write to what becomes the snapshot.
    top = await pool.prepare_snapshot("u1", snapshot="s1", op_uid="o", in_use=True)
    with pytest.raises(TemporaryError, match="is being attached") as busy:
        await pool.prepare_snapshot("u1", snapshot="s1", op_uid="o", in_use=False)
    assert busy.value.key == BUSY
    await attacher.detach("u1")
    assert await attacher.attach("u1") == top
    assert await pool.prepare_snapshot("u1", snapshot="s1", op_uid="o", in_use=False) == top
    with pytest.raises(TemporaryError, match="was attached since"):
        await pool.cancel_snapshot("u1", snapshot="s1")
    await attacher.detach("u1")
    await pool.cancel_snapshot("u1", snapshot="s1")
    assert (await attacher.attach("u1")).path.name == "u1.qcow2"


async def test_what_frees_space_takes_none_of_the_reserve(tmp_path: Path, folder: Path) -> None:
    pool = await pool_in(tmp_path, overcommit_ratio=0)
    await pool.create_blank("u1", 64 * MIB)
    write(folder / "u1.qcow2")
    await snapshot(pool, "s1")
    short = await pool_in(tmp_path, overcommit_ratio=0, reserve_bytes=1 << 60)
    await short.delete_snapshot("s1")
    assert await short.merges(()) == []
    assert await short.merges({"u1"}) == [], "a guest's QEMU takes as much"
    assert sorted(names(folder)) == ["u1.qcow2", "u1.s1.qcow2", "u1@s1.garbage"]
    assert [merge.uid for merge in await pool.merges({"u1"})] == ["u1"]
    assert await pool.merges(()) == []
    assert names(folder) == ["u1.s1.qcow2"]


async def test_what_is_being_merged_is_let_alone_before_it_is_copied(
    pool: DirectoryProvisioner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.create_blank("u1", MIB)
    await snapshot(pool, "s1")
    await pool.delete_snapshot("s1")
    begun, ended = asyncio.Event(), asyncio.Event()

    async def for_ever(*_: object, **__: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with monkeypatch.context() as tools:
        tools.setattr(QemuImg, "rebase", for_ever)
        merging = asyncio.create_task(pool.merges(()))
        await begun.wait()
        await pool.clone("u2", source="u1", op_uid="o")
        assert ended.is_set()
        assert await merging == []
    assert info(folder / "u2.qcow2")["backing-filename"] == str(folder / "u1.qcow2")


async def test_a_pool_of_a_later_format_keeps_the_daemon_from_starting(
    pool: DirectoryProvisioner, tmp_path: Path, folder: Path
) -> None:
    mark = await asyncio.to_thread(poolmark.read, folder / poolmark.FILE)
    assert mark is not None
    assert mark.format == FORMAT
    await pool_in(tmp_path)
    assert await asyncio.to_thread(poolmark.read, folder / poolmark.FILE) == mark
    later = replace(mark, format=FORMAT + 1)
    await asyncio.to_thread(poolmark.write, folder / poolmark.FILE, later)
    (folder / ".left.new").touch()
    with pytest.raises(PermanentError, match=rf"of format {FORMAT + 1}; this hyperd knows up to {FORMAT}"):
        await pool_in(tmp_path)
    assert ".left.new" in names(folder), "nothing is changed"
    await asyncio.to_thread((folder / poolmark.FILE).write_bytes, b"")
    with pytest.raises(PermanentError, match="is damaged"):
        await pool_in(tmp_path)


async def test_a_disk_that_was_full_at_the_start_has_its_number_before_its_first_snapshot(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(poolmark, "write", full)
        pool = await pool_in(tmp_path)
        await pool.create_blank("u1", MIB)
        with pytest.raises(TemporaryError, match="no space left"):
            await snapshot(pool, "s1")
    assert names(folder) == ["u1.qcow2"]
    await snapshot(pool, "s1")
    assert await asyncio.to_thread(poolmark.read, folder / poolmark.FILE) is not None
