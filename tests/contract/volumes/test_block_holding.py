"""Who holds a volume of a block pool: it is not removed, moved or taken for another's under whoever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hyperd.controllers.export import Exports
from hyperd.controllers.image.operations.copying import ReadStep
from hyperd.controllers.image.source import FromVolume
from hyperd.errors import TemporaryError
from hyperd.imagefile import copying
from hyperd.imagefile.handle import Handle
from hyperd.progress import Progress
from hyperd.resources.all import VIRTUAL_IMAGE
from hyperd.storage.backends.block import table
from hyperd.storage.backends.block.backend import BlockBackend
from hyperd.storage.backends.block.table import Type
from tests.contract.volumes import guest, test_block

MIB = 1 << 20
Step = Callable[[], Awaitable[None]]


@pytest.fixture
async def backend(tmp_path: Path, loop_disk: Path) -> AsyncIterator[BlockBackend]:
    one = test_block.made(tmp_path, loop_disk)
    await one.start()
    yield one
    for volume in await one.provisioner.inventory():
        await one.attacher.detach(volume.uid)


async def filled(backend: BlockBackend, *uids: str) -> None:
    for pattern, uid in enumerate(uids, 1):
        await backend.provisioner.create_blank(uid, 8 * MIB)
        await test_block.use(backend, uid, pattern, 8 * MIB)


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens before and after the bytes of a volume are copied."""
    real = copying.copy_into

    def set_(before: Step | None = None, after: Step | None = None) -> None:
        async def copy_into(*args: object, **kwargs: object) -> None:
            if before is not None:
                await before()
            await real(*args, **kwargs)  # type: ignore[arg-type]
            if after is not None:
                await after()

        monkeypatch.setattr(copying, "copy_into", copy_into)

    return set_


async def test_a_volume_that_somebody_has_open_stays_where_it_is(
    backend: BlockBackend, loop_disk: Path, during: Callable[..., None]
) -> None:
    await filled(backend, "u1", "u2")
    handle = await backend.attacher.attach("u1")
    await backend.attacher.detach("u1")
    opened = []

    async def start() -> None:
        opened.append(handle.path.open("rb"))

    await start()
    with pytest.raises(
        TemporaryError, match=r"Volume u1 cannot grow where it lies, and partition 2 of .* is open"
    ):
        await backend.provisioner.grow("u1", 16 * MIB, in_use=False)
    opened.pop().close()
    during(after=start)
    with pytest.raises(TemporaryError, match=r"Volume u1 cannot grow now: partition 2 of .* is open"):
        await backend.provisioner.grow("u1", 16 * MIB, in_use=False)
    with opened.pop() as file:
        assert file.read() == b"\x01" * 8 * MIB, "its guest reads what it wrote"
    assert table.read(loop_disk).of(Type.UNFINISHED) == []
    during()
    assert (await backend.provisioner.grow("u1", 16 * MIB, in_use=False)).virtual_size == 16 * MIB
    assert await test_block.content(backend, "u1") == b"\x01" * 8 * MIB + bytes(8 * MIB)
    assert await test_block.content(backend, "u2") == b"\x02" * 8 * MIB


async def test_no_machine_starts_with_a_volume_that_goes_to_another_place(
    backend: BlockBackend, during: Callable[..., None]
) -> None:
    await filled(backend, "u1", "u2")
    told = []

    async def start() -> None:
        with pytest.raises(TemporaryError) as refused:
            await backend.attacher.attach("u1")
        told.append(refused.value.message)

    during(start, start)
    await backend.provisioner.grow("u1", 16 * MIB, in_use=False)
    assert told == ["Volume u1 is being copied to where it can grow; it can be used after that."] * 2
    assert await test_block.content(backend, "u1") == b"\x01" * 8 * MIB + bytes(8 * MIB)


async def test_the_source_of_a_clone_is_not_removed_before_it_is_read(
    backend: BlockBackend, during: Callable[..., None]
) -> None:
    await filled(backend, "u1")

    async def delete() -> None:
        with pytest.raises(TemporaryError, match=r"Volume u1 cannot be removed: partition 2 of .* is open"):
            await backend.provisioner.delete("u1")

    during(delete, delete)
    await backend.provisioner.clone("u2", source="u1", op_uid="op")
    assert await test_block.content(backend, "u2") == b"\x01" * 8 * MIB
    await backend.provisioner.delete("u1")


async def test_what_is_written_to_while_it_is_copied_is_no_copy(backend: BlockBackend) -> None:
    """Also where the copy holds the same by chance."""
    await filled(backend, "u1")
    source = await backend.attacher.attach("u1")

    def at(progress: Progress) -> None:
        if (progress.fraction or 0) > 0.6:
            guest.fill(source, 1, MIB)

    with pytest.raises(TemporaryError, match="was written to while it was copied: a guest has it open"):
        await backend.provisioner.receive("u2", 8 * MIB, layers=[source], op_uid="op", report=at)
    assert await backend.provisioner.find("u2") is None
    await backend.provisioner.receive("u2", 8 * MIB, layers=[source], op_uid="op", report=lambda _: None)
    assert await test_block.content(backend, "u2") == b"\x01" * 8 * MIB


async def test_who_attaches_it_several_times_lets_go_of_it_once(backend: BlockBackend) -> None:
    await filled(backend, "u1")
    handles = await asyncio.gather(*(backend.attacher.attach("u1") for _ in range(4)))
    assert len({handle.path for handle in handles}) == 1
    await backend.attacher.detach("u1")
    await backend.provisioner.delete("u1")


async def test_a_number_is_not_another_volumes_at_once(backend: BlockBackend) -> None:
    await filled(backend, "u1")
    handle = await backend.attacher.attach("u1")
    await backend.attacher.detach("u1")
    await backend.provisioner.delete("u1")
    await filled(backend, "u2")
    other = await backend.attacher.attach("u2")
    assert other.path != handle.path
    assert not handle.path.exists()


async def test_a_volume_is_kept_while_an_image_is_made_of_it_or_it_is_exported(backend: BlockBackend) -> None:
    await filled(backend, "u1")
    read: list[bytes] = []

    async def take_volume(_request: object, layers: Sequence[Handle], _report: object) -> None:
        with pytest.raises(TemporaryError, match="is open"):
            await backend.provisioner.delete("u1")
        read.append(await asyncio.to_thread(Path(str(layers[0])).read_bytes))

    async def get(*_: object) -> SimpleNamespace:
        return SimpleNamespace(object=lambda: image)

    image = {
        "kind": VIRTUAL_IMAGE.kind,
        "metadata": {"uid": "u1"},
        "spec": {"storage": "PersistentVolumeClaim"},
        "status": {"phase": "Ready"},
    }
    attacher = {name: getattr(backend.attacher, name) for name in dir(backend.attacher) if name[0] != "_"}
    context: Any = SimpleNamespace(
        volumes=SimpleNamespace(**attacher, find=backend.provisioner.find),
        images=SimpleNamespace(take_volume=take_volume),
        store=SimpleNamespace(get=get),
    )
    request: Any = None
    await ReadStep(context, request, FromVolume("u1"), onto="").make(None)
    assert read == [b"\x01" * 8 * MIB]
    held: Any = None
    async with Exports(context, held).open(VIRTUAL_IMAGE, "default", "image"):
        with pytest.raises(TemporaryError, match="is open"):
            await backend.provisioner.delete("u1")
    await backend.provisioner.delete("u1")
