"""Images that are made of what is here already: of another image, and of a volume."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.detect import ImageFormat
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from registry.client import RegistryClient
from registry.models import CopyRequest, VolumeRequest
from tests.unit.registry.world import World, files_in, qcow2_bytes, qemu_img

MIB = 1 << 20


def blobs(world: World) -> int:
    """How many layers the registry keeps, whoever has them; small ones are configs and manifests."""
    root = world.settings.registry_dir / "docker/registry/v2/blobs"
    return sum(path.stat().st_size >= MIB for path in root.rglob("data"))


def copy_of(reference: str, *, tag: str = "u2") -> CopyRequest:
    return CopyRequest(reference, "cvi/copy", tag)


async def test_a_copy_has_the_image_and_the_registry_has_it_once(world: World, tmp_path: Path) -> None:
    world.source.routes["/a"] = image = await qcow2_bytes(tmp_path)
    first = await world.load("/a")
    second = await world.importer.copy(copy_of(first.reference))
    assert (second.layer_digest, second.format, second.sha256) == (first.layer_digest, first.format, first.sha256)
    assert second.reference.endswith("/cvi/copy:u2")
    assert (await world.cache.ensure(second.reference)).path.read_bytes() == image
    assert blobs(world) == 1
    assert await world.importer.find(copy_of(first.reference)) == second
    assert await world.importer.find(copy_of(first.reference.replace(":u1", ":u3"))) is None


async def test_a_registry_that_mounts_nothing_is_sent_its_own_bytes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.source.routes["/a"] = image = await qcow2_bytes(tmp_path)
    first = await world.load("/a")

    async def unable(self: RegistryClient, repository: str, digest: str, *, source: str) -> bool:
        return False

    monkeypatch.setattr(RegistryClient, "mount", unable)
    second = await world.importer.copy(copy_of(first.reference))
    assert second.layer_digest == first.layer_digest
    assert (await world.cache.ensure(second.reference)).path.read_bytes() == image


async def test_what_cannot_be_mounted_leaves_no_upload(world: World, tmp_path: Path) -> None:
    world.source.routes["/a"] = await qcow2_bytes(tmp_path)
    first = await world.load("/a")
    assert not await world.client.mount("vi/ns/other", first.layer_digest, source="vi/ns/nowhere")
    assert await world.leftovers() == ["vi/ns/image:u1"]


async def test_an_image_that_is_gone_is_not_copied(world: World) -> None:
    gone = world.client.endpoint.reference("vi/ns/gone", "u9")
    with pytest.raises(TemporaryError, match="no longer has"):
        await world.importer.copy(copy_of(gone))
    with pytest.raises(TemporaryError, match="is in another registry"):
        await world.importer.copy(copy_of("registry.example/vi/ns/a:u1"))
    assert await world.leftovers() == []


def chain(folder: Path, *, base: DiskFormat) -> list[Handle]:
    """A volume of 4 MiB over an image of 2, with sevens from the image and eights of its own."""
    image, volume = folder / f"base.{base}", folder / "volume.qcow2"
    qemu_img("create", "-q", "-f", base, image, str(2 * MIB))
    _write(image, base, 7, 0)
    qemu_img("create", "-q", "-f", "qcow2", "-F", base, "-b", image, volume, str(4 * MIB))
    _write(volume, DiskFormat.QCOW2, 8, 3 * MIB)
    image.chmod(0o444)
    volume.chmod(0o600)
    return [FileHandle(volume, DiskFormat.QCOW2), FileHandle(image, base)]


def _write(path: Path, format_: DiskFormat, pattern: int, offset: int) -> None:
    command = f"write -q -P {pattern} {offset} 64k"
    subprocess.run(["qemu-io", "-f", format_, "-c", command, path], check=True)


CONTENT = b"\7" * 65536 + bytes(3 * MIB - 65536) + b"\10" * 65536 + bytes(MIB - 65536)


def content(image: Path) -> bytes:
    raw = image.parent / "read.raw"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", image, raw)
    found = raw.read_bytes()
    raw.unlink()
    return found


@pytest.mark.parametrize("base", DiskFormat)
async def test_a_volume_becomes_one_plain_image(world: World, tmp_path: Path, base: DiskFormat) -> None:
    layers = await asyncio.to_thread(chain, tmp_path, base=base)
    request = VolumeRequest("o1", "vi/ns/made", "u1")
    made = await world.importer.take(request, layers)
    assert (made.format, made.virtual_size, made.cdrom) == (ImageFormat.QCOW2, 4 * MIB, False)
    cached = await world.cache.ensure(made.reference)
    assert await asyncio.to_thread(content, cached.path) == CONTENT
    assert b"base" not in cached.path.read_bytes(), "nothing in it names what it was made of"
    assert made.stored_bytes < MIB, "what nobody wrote takes no space"
    assert files_in(world.settings.images_dir) == [cached.path.name]
    assert [os.stat(str(layer)).st_uid for layer in layers] == [os.geteuid()] * 2
    found = await world.importer.find(request)
    assert found is not None
    assert found.manifest_digest == made.manifest_digest
    assert await world.importer.find(VolumeRequest("o2", "vi/ns/made", "u1")) is None, "of another moment"


async def test_a_header_that_names_a_file_of_the_host_has_it_read_by_nobody(world: World, tmp_path: Path) -> None:
    layers = await asyncio.to_thread(chain, tmp_path, base=DiskFormat.RAW)
    secret = tmp_path / "secret"
    secret.write_bytes(b"\6" * MIB)
    await asyncio.to_thread(qemu_img, "rebase", "-u", "-F", "raw", "-b", secret, str(layers[0]))
    made = await world.importer.take(VolumeRequest("o1", "vi/ns/made", "u1"), layers)
    cached = await world.cache.ensure(made.reference)
    assert await asyncio.to_thread(content, cached.path) == CONTENT


async def test_a_volume_that_a_guest_writes_to_is_left_alone(world: World, tmp_path: Path) -> None:
    layers = await asyncio.to_thread(chain, tmp_path, base=DiskFormat.RAW)
    guest = await asyncio.create_subprocess_exec(
        "qemu-io", "-f", "qcow2", str(layers[0]), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert guest.stdin is not None
    assert guest.stdout is not None
    try:
        await guest.stdout.readuntil(b"qemu-io>")
        with pytest.raises(TemporaryError, match="a guest has it open"):
            await world.importer.take(VolumeRequest("o1", "vi/ns/made", "u1"), layers)
    finally:
        guest.stdin.close()
        await guest.wait()
    assert await world.leftovers() == []


async def test_what_is_no_file_of_the_node_is_refused(world: World, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, error in ((fifo, PermanentError), (tmp_path / "nowhere", TemporaryError)):
        with pytest.raises(error):
            await world.importer.take(VolumeRequest("o1", "vi/ns/made", "u1"), [FileHandle(path, DiskFormat.RAW)])
    assert await world.leftovers() == []
