"""What every backend of volumes does; see ``hyperd/storage/interface.py``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hyperd.errors import NotFound, PermanentError
from hyperd.imagefile.handle import DiskFormat
from hyperd.settings import Settings
from hyperd.storage.interface import Backend, Capability
from tests.contract.volumes import guest

MIB = 1 << 20


async def test_a_blank_volume_reads_as_zeros_and_is_found_until_it_is_deleted(backend: Backend) -> None:
    volumes = backend.provisioner
    made = await volumes.create_blank("u1", MIB)
    assert (made.uid, made.provisioner, made.virtual_size) == ("u1", backend.name, MIB)
    assert (await volumes.find("u1"), await volumes.inventory()) == (made, [made])
    assert guest.read(await backend.attacher.attach("u1")) == bytes(MIB)
    await backend.attacher.detach("u1")
    for _ in range(2):
        await volumes.delete("u1")
        assert (await volumes.find("u1"), await volumes.inventory()) == (None, [])


async def test_a_large_volume_takes_no_space_before_it_is_written_to(backend: Backend) -> None:
    if Capability.THIN not in backend.provisioner.capabilities:
        made = await backend.provisioner.create_blank("u1", 4 * MIB)
        assert made.allocated == made.virtual_size
        return
    assert (await backend.provisioner.create_blank("u1", 10 << 30)).allocated < MIB


async def test_a_size_is_rounded_up_to_whole_mebibytes(backend: Backend) -> None:
    assert (await backend.provisioner.create_blank("u1", MIB + 1)).virtual_size == 2 * MIB


@pytest.mark.parametrize("size", [0, -1])
async def test_a_volume_has_a_positive_size(backend: Backend, size: int) -> None:
    with pytest.raises(PermanentError, match="must be positive"):
        await backend.provisioner.create_blank("u1", size)


@pytest.mark.parametrize("uid", ["", "../etc/passwd", "a/b", ".hidden", "-f", "u" * 64, "A", "a\n"])
async def test_nothing_but_a_uid_names_a_volume(backend: Backend, uid: str) -> None:
    for call in (backend.provisioner.create_blank(uid, MIB), backend.attacher.attach(uid)):
        with pytest.raises(ValueError, match="not a uid"):
            await call


@pytest.mark.parametrize("format_", DiskFormat)
async def test_a_volume_from_an_image_has_its_content_as_long_as_it_lives(
    backend: Backend, tmp_path: Path, format_: DiskFormat
) -> None:
    content = b"image" + bytes(MIB - 5)
    image = guest.image(tmp_path / "base with spaces: and,commas", format_, content)
    volumes = backend.provisioner
    made = await volumes.create_from_image("u1", 4 * MIB, image=image)
    assert made.virtual_size == 4 * MIB
    if not await volumes.reads(image.path):
        image.path.unlink()
    assert guest.read(await backend.attacher.attach("u1")) == content + bytes(3 * MIB)
    await backend.attacher.detach("u1")
    await volumes.delete("u1")
    assert not await volumes.reads(image.path)


async def test_what_was_made_is_kept_when_it_is_made_again_even_by_another_daemon(
    backend: Backend, kind: type[Backend], settings: Settings
) -> None:
    first = await backend.provisioner.create_blank("u1", MIB)
    handle = await backend.attacher.attach("u1")
    guest.fill(handle, 7, 512)
    later = kind(settings)
    await later.start()
    again = await later.provisioner.create_blank("u1", 5 * MIB)
    assert (again.uid, again.virtual_size) == (first.uid, first.virtual_size)
    assert await later.attacher.attach("u1") == handle
    assert guest.read(handle)[:512] == b"\x07" * 512


async def test_growing_keeps_the_content_is_idempotent_and_never_shrinks(backend: Backend) -> None:
    volumes = backend.provisioner
    await volumes.create_blank("u1", 2 * MIB)
    guest.fill(await backend.attacher.attach("u1"), 7, 512)
    await backend.attacher.detach("u1")
    for _ in range(2):
        assert (await volumes.grow("u1", 4 * MIB, in_use=False)).virtual_size == 4 * MIB
    with pytest.raises(PermanentError, match="cannot shrink"):
        await volumes.grow("u1", 3 * MIB, in_use=False)
    with pytest.raises(NotFound):
        await volumes.grow("u2", 3 * MIB, in_use=False)
    assert guest.read(await backend.attacher.attach("u1")) == b"\x07" * 512 + bytes(4 * MIB - 512)


async def test_what_a_guest_has_open_is_grown_with_its_hypervisor(backend: Backend) -> None:
    volumes, attacher = backend.provisioner, backend.attacher
    await volumes.create_blank("u1", MIB)
    handle = await attacher.attach("u1")
    if Capability.GROW_IN_USE not in volumes.capabilities:
        with pytest.raises(PermanentError, match=Capability.GROW_IN_USE):
            await volumes.grow("u1", 2 * MIB, in_use=True)
        return
    for _ in range(2):
        await volumes.grow("u1", 2 * MIB, in_use=True)
        told = await attacher.expand("u1", 2 * MIB)
        assert told in (handle, None)
        if told is not None:
            guest.resize(told, 2 * MIB)
        found = await volumes.find("u1")
        assert found is not None
        assert found.virtual_size == 2 * MIB


async def test_attaching_and_detaching_twice_is_as_good_as_once(backend: Backend) -> None:
    await backend.provisioner.create_blank("u1", MIB)
    attacher = backend.attacher
    assert await attacher.attach("u1") == await attacher.attach("u1")
    used = await attacher.usage("u1")
    assert used.virtual_size == MIB
    assert used.available > 0
    for _ in range(2):
        await attacher.detach("u1")
    assert (await attacher.usage("u1")).virtual_size == MIB


async def test_what_does_not_exist_cannot_be_attached(backend: Backend) -> None:
    attacher = backend.attacher
    calls: list[Awaitable[object]] = [attacher.attach("u1"), attacher.usage("u1"), attacher.expand("u1", MIB)]
    for call in calls:
        with pytest.raises(NotFound, match="Volume u1 does not exist"):
            await call
    await attacher.detach("u1")


async def test_volumes_leave_less_than_there_is(backend: Backend) -> None:
    capacity = await backend.provisioner.capacity()
    assert 0 < capacity.available <= capacity.total


async def test_what_is_declared_is_built_and_what_is_not_is_refused_in_words(
    backend: Backend, tmp_path: Path
) -> None:
    volumes = backend.provisioner
    await volumes.create_blank("u1", MIB)
    guest.fill(await backend.attacher.attach("u1"), 7, 512)
    source = guest.image(tmp_path / "source", DiskFormat.QCOW2, bytes(MIB))
    calls: dict[Capability, list[Callable[[], Awaitable[object]]]] = {
        Capability.CLONE: [lambda: volumes.clone("u2", source="u1", op_uid="o")],
        Capability.SNAPSHOT: [
            lambda: volumes.prepare_snapshot("u1", snapshot="s", op_uid="o", in_use=True),
            lambda: volumes.commit_snapshot("u1", snapshot="s", op_uid="o"),
        ],
        Capability.RECEIVE: [
            lambda: volumes.receive("u3", MIB, layers=[source], op_uid="o", report=lambda progress: None)
        ],
    }
    for capability, steps in calls.items():
        for step in steps:
            if capability not in volumes.capabilities:
                with pytest.raises(PermanentError, match=f"{backend.name} cannot {capability}"):
                    await step()
                continue
            for _ in range(2):
                await step()
    if Capability.CLONE in volumes.capabilities:
        guest.fill(await backend.attacher.attach("u1"), 8, 512)
        assert guest.read(await backend.attacher.attach("u2")) == b"\x07" * 512 + bytes(MIB - 512)
