from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile.detect import ImageFormat
from hyperd.settings import Settings, StorageSettings
from hyperd.storage.pool import VolumePool

MIB = 1 << 20


def info(path: Path) -> dict[str, Any]:
    argv = ["qemu-img", "info", "--output=json", "-f", "qcow2", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return found


def make_image(path: Path, driver: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", driver, path, "1M"], check=True)


@pytest.fixture
async def pool(tmp_path: Path) -> VolumePool:
    made = VolumePool(Settings(state_dir=tmp_path))
    await made.clean()
    return made


async def test_a_blank_volume_is_a_sparse_qcow2_named_by_its_uid(pool: VolumePool) -> None:
    volume = await pool.create_blank("u1", 10 << 30)
    assert volume.path == pool.path("u1")
    assert (volume.virtual_size, volume.backing) == (10 << 30, None)
    assert volume.allocated < MIB
    assert info(volume.path)["virtual-size"] == 10 << 30
    assert volume.path.stat().st_mode & 0o777 == 0o600


async def test_a_size_is_rounded_up_to_whole_mebibytes(pool: VolumePool) -> None:
    assert (await pool.create_blank("u1", MIB + 1)).virtual_size == 2 * MIB


@pytest.mark.parametrize(("format_", "driver"), [(ImageFormat.RAW, "raw"), (ImageFormat.QCOW2, "qcow2")])
async def test_an_overlay_reads_its_base_in_the_format_that_was_said(
    pool: VolumePool, tmp_path: Path, format_: ImageFormat, driver: str
) -> None:
    base = tmp_path / "base with spaces: and,commas"
    make_image(base, driver)
    volume = await pool.create_overlay("u1", base=base, base_format=format_, size=4 * MIB)
    assert (volume.backing, volume.virtual_size) == (base, 4 * MIB)
    described = info(volume.path)
    assert (described["backing-filename"], described["backing-filename-format"]) == (str(base), driver)


async def test_creating_twice_keeps_what_the_first_time_made(pool: VolumePool) -> None:
    first = await pool.create_blank("u1", MIB)
    inode = first.path.stat().st_ino
    assert await pool.create_blank("u1", 5 * MIB) == first
    assert first.path.stat().st_ino == inode


async def test_growing_is_idempotent_and_never_shrinks(pool: VolumePool) -> None:
    await pool.create_blank("u1", 2 * MIB)
    assert (await pool.grow("u1", 4 * MIB)).virtual_size == 4 * MIB
    assert (await pool.grow("u1", 4 * MIB)).virtual_size == 4 * MIB
    with pytest.raises(PermanentError, match="cannot shrink"):
        await pool.grow("u1", 3 * MIB)
    with pytest.raises(NotFound):
        await pool.grow("u2", 3 * MIB)


async def test_deleting_twice_is_as_good_as_once(pool: VolumePool) -> None:
    await pool.create_blank("u1", MIB)
    await pool.delete("u1")
    await pool.delete("u1")
    assert await pool.inventory() == []
    assert await pool.find("u1") is None


async def test_the_inventory_is_what_the_folder_shows_damaged_files_included(pool: VolumePool) -> None:
    await pool.create_blank("u1", MIB)
    pool.path("u2").write_bytes(b"not a qcow2")
    assert [(v.uid, v.virtual_size) for v in await pool.inventory()] == [("u1", MIB), ("u2", 0)]
    with pytest.raises(PermanentError, match="no qcow2 image"):
        await pool.find("u2")


async def test_cleaning_removes_temporary_files_and_nothing_else(pool: VolumePool) -> None:
    volume = await pool.create_blank("u1", MIB)
    (volume.path.parent / ".u2.qcow2.new").write_bytes(b"half")
    await pool.clean()
    assert os.listdir(volume.path.parent) == ["u1.qcow2"]


async def test_no_volume_is_made_of_the_reserve(tmp_path: Path) -> None:
    pool = VolumePool(Settings(state_dir=tmp_path, storage=StorageSettings(reserve_bytes=1 << 60)))
    assert await pool.free_bytes() == 0
    with pytest.raises(TemporaryError, match=r"storage\.reserve_bytes"):
        await pool.create_blank("u1", MIB)
    assert await pool.inventory() == []


@pytest.mark.parametrize("uid", ["", "../etc/passwd", "a/b", ".hidden", "-f", "u" * 64, "A", "a\n"])
async def test_nothing_but_a_uid_becomes_a_path(pool: VolumePool, uid: str) -> None:
    with pytest.raises(ValueError, match="not a uid"):
        await pool.create_blank(uid, MIB)


@pytest.mark.parametrize("size", [0, -1])
async def test_a_volume_has_a_positive_size(pool: VolumePool, size: int) -> None:
    with pytest.raises(PermanentError, match="must be positive"):
        await pool.create_blank("u1", size)


async def test_no_more_is_promised_to_disks_than_the_setting_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = VolumePool(Settings(state_dir=tmp_path, storage=StorageSettings(reserve_bytes=0, overcommit_ratio=2.0)))
    await pool.clean()
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
    with pytest.raises(TemporaryError, match="No room for a disk"):
        await pool.grow(made, third * 2)
    with pytest.raises(TemporaryError):
        await pool.check_room(made, third * 2)
    await pool.delete(made)
    assert (await pool.create_blank("later", third - MIB)).virtual_size
    unlimited = VolumePool(Settings(state_dir=tmp_path, storage=StorageSettings(overcommit_ratio=0)))
    assert (await unlimited.create_blank("huge", 1 << 50)).virtual_size == 1 << 50
