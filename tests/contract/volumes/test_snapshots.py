"""What every backend that has snapshots does with them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from hyperd.errors import NotFound, TemporaryError
from hyperd.imagefile import files
from hyperd.imagefile.handle import DiskFormat, Handle
from hyperd.settings import Settings
from hyperd.storage.interface import BUSY, Backend, Capability
from tests.contract.volumes import guest

MIB = 1 << 20
SIZE = 4 * MIB


@pytest.fixture
async def volume(backend: Backend) -> Backend:
    """One with a volume ``v`` of 1 MiB of ones."""
    if Capability.SNAPSHOT not in backend.provisioner.capabilities:
        pytest.skip("it has no snapshots")
    await backend.provisioner.create_blank("v", SIZE)
    await write(backend, 1)
    return backend


async def write(backend: Backend, pattern: int, uid: str = "v") -> None:
    """As a guest that starts, writes to its begin, and ends."""
    guest.fill(await backend.attacher.attach(uid), pattern, MIB)
    await backend.attacher.detach(uid)


async def take(backend: Backend, snapshot: str, uid: str = "v", *, in_use: bool = False) -> Handle | None:
    """A snapshot; what a guest that runs has to write to from now on."""
    handle = await backend.provisioner.prepare_snapshot(uid, snapshot=snapshot, op_uid="o", in_use=in_use)
    await backend.provisioner.commit_snapshot(uid, snapshot=snapshot, op_uid="o")
    return handle


async def of_volume(backend: Backend, uid: str = "v") -> bytes:
    found = guest.read(await backend.attacher.attach(uid))
    await backend.attacher.detach(uid)
    return found


async def of_snapshot(backend: Backend, snapshot: str) -> bytes:
    async with backend.attacher.reading(snapshot) as handle:
        return guest.read(handle)


def content(pattern: int, size: int = SIZE) -> bytes:
    return bytes([pattern]) * MIB + bytes(size - MIB)


async def test_a_snapshot_is_what_the_volume_was(volume: Backend) -> None:
    await take(volume, "s")
    await write(volume, 2)
    assert (await of_snapshot(volume, "s"), await of_volume(volume)) == (content(1), content(2))
    [found] = await volume.provisioner.snapshots()
    assert found == await volume.provisioner.find_snapshot("s")
    assert (found.uid, found.volume, found.provisioner) == ("s", "v", volume.name)
    assert (found.virtual_size, found.pending) == (SIZE, False)
    assert [each.uid for each in await volume.provisioner.inventory()] == ["v"], "it is no volume"


async def test_a_guest_that_runs_goes_on_in_what_it_is_given(volume: Backend) -> None:
    before = await volume.attacher.attach("v")
    with pytest.raises(TemporaryError) as busy:
        await take(volume, "s")
    assert busy.value.key == BUSY, "a guest may be about to open it as it is"
    after = await take(volume, "s", in_use=True)
    guest.fill(after or before, 2, MIB)
    assert await volume.attacher.attach("v") == (after or before)
    assert (await of_snapshot(volume, "s"), await of_volume(volume)) == (content(1), content(2))


async def test_each_half_may_be_repeated_by_another_daemon(
    volume: Backend, kind: type[Backend], settings: Settings
) -> None:
    first = await volume.provisioner.prepare_snapshot("v", snapshot="s", op_uid="o", in_use=False)
    later = kind(settings)
    await later.start()
    assert await later.provisioner.prepare_snapshot("v", snapshot="s", op_uid="o", in_use=False) == first
    made = await later.provisioner.commit_snapshot("v", snapshot="s", op_uid="o")
    await write(later, 2)
    assert await volume.provisioner.commit_snapshot("v", snapshot="s", op_uid="o") == made
    assert await of_snapshot(volume, "s") == content(1)


async def test_what_was_prepared_can_be_taken_back(volume: Backend) -> None:
    for _ in range(2):
        await volume.provisioner.prepare_snapshot("v", snapshot="s", op_uid="o", in_use=False)
        await volume.provisioner.cancel_snapshot("v", snapshot="s")
        await volume.provisioner.cancel_snapshot("v", snapshot="s")
    assert await volume.provisioner.find_snapshot("s") is None
    await write(volume, 2)
    await take(volume, "t")
    assert (await of_snapshot(volume, "t"), await of_volume(volume)) == (content(2), content(2))


async def test_a_snapshot_outlives_its_volume_and_whoever_else_was_made_of_it(volume: Backend) -> None:
    await take(volume, "s")
    for _ in range(2):
        made = await volume.provisioner.create_from_snapshot("w", 2 * SIZE, snapshot="s")
        assert (made.uid, made.virtual_size) == ("w", 2 * SIZE)
    await write(volume, 3, "w")
    await volume.provisioner.delete("v")
    assert await volume.provisioner.find("v") is None
    assert (await of_snapshot(volume, "s"), await of_volume(volume, "w")) == (content(1), content(3, 2 * SIZE))
    await volume.provisioner.delete("w")
    assert await of_snapshot(volume, "s") == content(1)
    assert await volume.provisioner.inventory() == []
    await volume.provisioner.delete_snapshot("s")
    assert await volume.provisioner.snapshots() == []


async def test_volumes_outlive_the_snapshot_that_they_were_made_of(volume: Backend) -> None:
    await take(volume, "s")
    await volume.provisioner.create_from_snapshot("w", SIZE, snapshot="s")
    await write(volume, 2)
    for _ in range(2):
        await volume.provisioner.delete_snapshot("s")
        assert await volume.provisioner.merges(()) == []
    assert await volume.provisioner.snapshots() == []
    assert (await of_volume(volume), await of_volume(volume, "w")) == (content(2), content(1))
    await volume.provisioner.delete("v")
    await volume.provisioner.merges(())
    assert await of_volume(volume, "w") == content(1)
    assert [each.uid for each in await volume.provisioner.inventory()] == ["w"]


@pytest.mark.parametrize("deleted", ["s1", "s2", "s3"])
async def test_a_snapshot_in_a_chain_goes_without_harm_and_frees_its_space(volume: Backend, deleted: str) -> None:
    volumes = volume.provisioner
    for number, snapshot in enumerate(("s1", "s2", "s3"), start=2):
        await take(volume, snapshot)
        await write(volume, number)
    before = await allocated(volume)
    await volumes.delete_snapshot(deleted)
    assert await volumes.merges(()) == []
    assert await allocated(volume) <= before - MIB // 2
    for number, snapshot in enumerate(("s1", "s2", "s3"), start=1):
        if snapshot != deleted:
            assert await of_snapshot(volume, snapshot) == content(number)
    assert await of_volume(volume) == content(4)
    for snapshot in {"s1", "s2", "s3"} - {deleted}:
        await volumes.delete_snapshot(snapshot)
    await volumes.merges(())
    assert await allocated(volume) <= 2 * MIB
    assert await of_volume(volume) == content(4)


async def allocated(backend: Backend) -> int:
    volumes, snapshots = await backend.provisioner.inventory(), await backend.provisioner.snapshots()
    return sum(each.allocated for each in volumes) + sum(each.allocated for each in snapshots)


async def test_a_volume_with_snapshots_grows_and_they_do_not(volume: Backend) -> None:
    await take(volume, "s")
    assert (await volume.provisioner.grow("v", 2 * SIZE, in_use=False)).virtual_size == 2 * SIZE
    await take(volume, "t")
    assert (await of_snapshot(volume, "s"), await of_snapshot(volume, "t")) == (content(1), content(1, 2 * SIZE))


async def test_an_image_is_read_as_long_as_a_snapshot_needs_it(volume: Backend, tmp_path: Path) -> None:
    volumes = volume.provisioner
    image = guest.image(tmp_path / "image", DiskFormat.QCOW2, content(9, MIB))
    await volumes.create_from_image("i", MIB, image=image)
    await take(volume, "s", "i")
    await volumes.delete("i")
    if not await volumes.reads(image.path):
        image.path.unlink()
    assert await of_snapshot(volume, "s") == content(9, MIB)
    await volumes.delete_snapshot("s")
    assert not await volumes.reads(image.path)


async def test_a_snapshot_is_found_without_a_look_at_the_others(
    volume: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        await take(volume, f"s{number}")
    opened: list[Path] = []
    whole = files.open_regular

    def counted(path: Path) -> BinaryIO:
        if path.suffix in (".qcow2", ".raw", ".snapshot"):
            opened.append(path)
        return whole(path)

    monkeypatch.setattr(files, "open_regular", counted)
    for number in range(12):
        found = await volume.provisioner.find_snapshot(f"s{number}")
        assert found is not None
        assert (found.uid, found.volume, found.pending) == (f"s{number}", "v", False)
    assert len(opened) <= 12


async def test_what_does_not_exist_is_not_found(volume: Backend) -> None:
    volumes = volume.provisioner
    with pytest.raises(NotFound, match="Volume u does not exist"):
        await volumes.prepare_snapshot("u", snapshot="s", op_uid="o", in_use=False)
    with pytest.raises(NotFound, match="Snapshot s does not exist"):
        await volumes.create_from_snapshot("w", SIZE, snapshot="s")
    with pytest.raises(NotFound, match="s does not exist"):
        async with volume.attacher.reading("s"):
            pass
    assert await volumes.find_snapshot("s") is None
    await volumes.delete_snapshot("s")
