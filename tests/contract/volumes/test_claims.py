"""Disks in the volumes of claims: what others may have put there, and what is not on the node at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle
from hyperd.settings import Settings
from hyperd.storage.backends.claims import volume
from hyperd.storage.interface import GROWING
from tests.contract.volumes import guest, loops
from tests.contract.volumes.claimed import TIB, Claimed

MIB = 1 << 20


@pytest.fixture
async def claimed(tmp_path: Path) -> AsyncIterator[Claimed]:
    made = Claimed(Settings(state_dir=tmp_path / "state"))
    yield made
    await made.attacher.detach("u1")


def folder(claimed: Claimed) -> Path:
    """The volume."""
    return claimed.claims.folder / "u1"


async def test_a_guest_is_handed_the_one_file_and_the_name_is_gone_with_it(claimed: Claimed) -> None:
    await claimed.provisioner.create_blank("u1", MIB)
    handle = await claimed.attacher.attach("u1")
    assert isinstance(handle, FileHandle)
    assert handle.format is DiskFormat.RAW
    assert handle.path.parent.stat().st_mode & 0o777 == 0o711
    assert [path.name for path in folder(claimed).iterdir()] == [volume.file_of("u1")]
    assert handle.path.samefile(folder(claimed) / volume.file_of("u1"))
    await claimed.attacher.detach("u1")
    assert not handle.path.exists()
    assert list(handle.path.parent.iterdir()) == []


async def test_after_a_reboot_no_name_is_left_at_which_a_disk_was(claimed: Claimed) -> None:
    await claimed.provisioner.create_blank("u1", MIB)
    handle = await claimed.attacher.attach("u1")
    assert isinstance(handle, FileHandle)
    await claimed.start()
    assert handle.path.samefile(folder(claimed) / volume.file_of("u1")), "a guest may have it"
    await asyncio.to_thread(subprocess.run, ["umount", str(handle.path)], check=True)
    assert handle.path.is_fifo(), "no disk that somebody could write to in the place of this one"
    await claimed.start()
    assert list(handle.path.parent.iterdir()) == []


async def test_what_was_in_the_volume_before_is_no_disk_of_ours(claimed: Claimed) -> None:
    """An earlier disk's, or what a daemon that was killed has not told of."""
    folder(claimed).mkdir(parents=True)
    for name in ("disk.img", "u0.img", ".u1.img.new"):
        (folder(claimed) / name).write_bytes(b"secret" * 1000)
    assert await claimed.provisioner.find("u1") is None
    await claimed.provisioner.create_blank("u1", MIB)
    assert guest.read(await claimed.attacher.attach("u1")) == bytes(MIB)


async def test_a_disk_whose_note_is_lost_is_never_made_anew(claimed: Claimed) -> None:
    """The cluster's store may be an earlier one."""
    await claimed.provisioner.create_blank("u1", 2 * MIB)
    handle = await claimed.attacher.attach("u1")
    assert isinstance(handle, FileHandle)
    handle.path.write_bytes(b"precious" * (2 * MIB // 8))
    await claimed.attacher.detach("u1")
    (claimed.claims.folder / "u1.note").unlink()
    assert await claimed.provisioner.find("u1") is None
    assert (await claimed.provisioner.create_blank("u1", MIB)).virtual_size == 2 * MIB
    assert guest.read(await claimed.attacher.attach("u1")) == b"precious" * (2 * MIB // 8)


async def test_a_disk_that_is_noted_and_has_no_name_yet_is_that_one(claimed: Claimed) -> None:
    """Its daemon was killed in between."""
    await claimed.provisioner.create_blank("u1", MIB)
    (folder(claimed) / "u1.img").write_bytes(b"whole" + bytes(MIB - 5))
    (folder(claimed) / "u1.img").rename(folder(claimed) / ".u1.img.new")
    assert (await claimed.provisioner.create_blank("u1", MIB)).virtual_size == MIB
    assert guest.read(await claimed.attacher.attach("u1")) == b"whole" + bytes(MIB - 5)
    assert [path.name for path in folder(claimed).iterdir()] == ["u1.img"]


def test_what_another_node_makes_by_now_is_neither_taken_nor_removed(tmp_path: Path) -> None:
    """Of a volume that both have, where the disk's machine went on to the other."""
    first, second = volume.begin(tmp_path, "u1"), volume.begin(tmp_path, "u1")
    try:
        with pytest.raises(OSError, match="another node makes the disk by now"):
            volume.finish(tmp_path, first)
        volume.discard(tmp_path, "u1", first)
        volume.finish(tmp_path, second)
        volume.publish(tmp_path, "u1")
        volume.publish(tmp_path, "u1")
        assert (tmp_path / "u1.img").samefile(f"/proc/self/fd/{second}")
    finally:
        os.close(first)
        os.close(second)


async def test_what_is_no_mount_of_ours_is_taken_away_from_a_disks_name(claimed: Claimed) -> None:
    await claimed.provisioner.create_blank("u1", MIB)
    handle = await claimed.attacher.attach("u1")
    assert isinstance(handle, FileHandle)
    await claimed.attacher.detach("u1")
    handle.path.write_bytes(b"copied there")
    await claimed.attacher.detach("u1")
    assert not handle.path.exists()


@pytest.mark.parametrize("name", ["u1.img", ".u1.img.new"])
async def test_a_link_in_the_volume_leads_nowhere(claimed: Claimed, tmp_path: Path, name: str) -> None:
    target = tmp_path / "of-the-node"
    target.write_bytes(b"precious")
    folder(claimed).mkdir(parents=True)
    (folder(claimed) / name).symlink_to(target)
    refused, disk = "The volume of the claim claim-u1 cannot be used: Too many levels", folder(claimed) / "u1.img"
    if disk.is_symlink():
        with pytest.raises(TemporaryError, match=refused):
            await claimed.provisioner.create_blank("u1", MIB)
        disk.unlink()
    await claimed.provisioner.create_blank("u1", MIB)
    disk.unlink()
    disk.symlink_to(target)
    with pytest.raises(TemporaryError, match=refused):
        await claimed.attacher.attach("u1")
    assert target.read_bytes() == b"precious"


async def test_what_is_no_file_is_refused_and_holds_nobody(claimed: Claimed) -> None:
    await claimed.provisioner.create_blank("u1", MIB)
    (folder(claimed) / volume.file_of("u1")).unlink()
    os.mkfifo(folder(claimed) / volume.file_of("u1"))
    with pytest.raises(TemporaryError, match="not a regular file"):
        await claimed.attacher.attach("u1")


async def test_a_disk_that_no_pod_has_is_known_by_its_claim_and_grows_once_one_has(claimed: Claimed) -> None:
    await claimed.provisioner.create_blank("u1", MIB)
    claimed.claims.away = True
    found = await claimed.provisioner.find("u1")
    assert found is not None
    assert found.virtual_size == MIB
    with pytest.raises(TemporaryError, match="No Pod here has the claim claim-u1 now"):
        await claimed.attacher.attach("u1")
    assert (await claimed.provisioner.grow("u1", 2 * MIB, in_use=False)).virtual_size == 2 * MIB
    claimed.claims.away = False
    assert guest.read(await claimed.attacher.attach("u1")) == bytes(2 * MIB)


async def test_a_disk_grows_once_its_claim_has(claimed: Claimed) -> None:
    await claimed.provisioner.create_blank("u1", MIB)
    claimed.claims.capacity = MIB
    with pytest.raises(TemporaryError, match=r"The claim claim-u1 has 1Mi, and is to have 2Mi") as caught:
        await claimed.provisioner.grow("u1", 2 * MIB, in_use=False)
    assert caught.value.key == GROWING
    assert claimed.claims.capacity == 2 * MIB  # the cluster's storage has done it
    assert (await claimed.provisioner.grow("u1", 2 * MIB, in_use=False)).virtual_size == 2 * MIB


async def test_a_claim_that_is_too_small_is_not_filled(claimed: Claimed) -> None:
    claimed.claims.capacity = MIB
    with pytest.raises(PermanentError, match="The claim claim-u1 has 1Mi; the disk needs 2Mi"):
        await claimed.provisioner.create_blank("u1", 2 * MIB)


@pytest.mark.parametrize("format_", [None, *DiskFormat])
async def test_a_device_is_the_disk_and_holds_nothing_of_who_had_it(
    claimed: Claimed, tmp_path: Path, format_: DiskFormat | None
) -> None:
    with loops.disk(tmp_path / "device", 8 * MIB) as device:
        device.write_bytes(b"secret" * 1000)
        claimed.claims.device, has = device, os.stat(tmp_path / "device").st_size
        if format_ is None:
            made, content = await claimed.provisioner.create_blank("u1", MIB), b""
        else:
            content = b"image" + bytes(MIB - 5)
            image = guest.image(tmp_path / "image", format_, content)
            made = await claimed.provisioner.create_from_image("u1", MIB, image=image)
        assert made.virtual_size == made.allocated == has
        handle = await claimed.attacher.attach("u1")
        assert handle == BlockHandle(device, DiskFormat.RAW)
        assert device.read_bytes() == content + bytes(has - len(content))
        assert (await claimed.attacher.usage("u1")).available > 0
        async with claimed.attacher.reading("u1") as read:
            assert read == handle == (await claimed.attacher.layers("u1"))[0]
        with pytest.raises(PermanentError, match="The claim claim-u2 has 8Mi; the disk needs 1Ti"):
            await claimed.provisioner.create_blank("u2", TIB)
        await claimed.attacher.detach("u1")


async def test_a_guest_keeps_its_disk_over_the_next_daemon_and_reads_end_with_nothing_left(
    claimed: Claimed, tmp_path: Path
) -> None:
    await claimed.provisioner.create_blank("u1", MIB)
    handle = await claimed.attacher.attach("u1")
    later = Claimed(Settings(state_dir=tmp_path / "state"))
    await later.start()
    async with later.attacher.reading("u1"):
        assert await later.attacher.attach("u1") == handle
    assert isinstance(handle, FileHandle)
    assert handle.path.exists()
    await later.attacher.detach("u1")
    async with later.attacher.reading("u1"):
        assert handle.path.exists()
        await later.attacher.detach("u1")
        assert handle.path.exists()
    assert not handle.path.exists()
