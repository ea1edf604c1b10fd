"""Every source with every format and compression, byte for byte; every checksum, right and wrong."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import ImageFormat
from registry.importer import Importer
from registry.models import ImportRequest
from registry.streebog import Streebog
from tests.unit.registry.remote.shelf import Shelf, archive, member, shelf, zstd
from tests.unit.registry.test_importer import iso_image
from tests.unit.registry.test_intake import body
from tests.unit.registry.world import World, qcow2_bytes, qemu_img

pytestmark = pytest.mark.loop_seconds(10, "the test packs what it serves")

PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": zstd,
    "bz2": bz2.compress,
}
FORMATS = {
    "qcow2": ImageFormat.QCOW2,
    "raw": ImageFormat.RAW,
    "vmdk": ImageFormat.QCOW2,
    "vdi": ImageFormat.QCOW2,
    "iso": ImageFormat.ISO,
}


async def made(folder: Path, format_: str) -> bytes:
    """An image, and beside it ``sound``, a qcow2 of the same disk."""
    sound = folder / "sound"
    sound.write_bytes(await qcow2_bytes(folder))
    if format_ == "iso":
        return iso_image()
    if format_ == "qcow2":
        return sound.read_bytes()
    qemu_img("convert", "-f", "qcow2", "-O", format_, sound, folder / "made")
    data = (folder / "made").read_bytes()
    return data[:510] + b"\x55\xaa" + data[512:] if format_ == "raw" else data


def from_http(world: World, _: Shelf, name: str, data: bytes) -> ImportRequest:
    world.source.routes[f"/{name}"] = data
    return world.request(f"/{name}", uid=name, name=name)


def from_a_container_image(world: World, server: Shelf, name: str, data: bytes) -> ImportRequest:
    server.push(server.blob(gzip.compress(archive(member(f"disk/{name}", data)), 1)), tag=name)
    request = world.request("/nothing", uid=name, name=name)
    image = server.image(f"a/disk:{name}")
    return replace(request, source_url="", container_image=image, ca_bundle=server.ca_bundle)


def from_an_upload(world: World, _: Shelf, name: str, data: bytes) -> ImportRequest:
    request = world.request("/nothing", uid=name, name=name)
    # curl -T of a file says how long it is, and of a pipe does not.
    return replace(request, source_url="", body=body(data, told=name in ("plain", "xz")))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("source", [from_http, from_a_container_image, from_an_upload])
async def test_every_source_format_and_compression(
    world: World, tmp_path: Path, source: Callable[..., ImportRequest], format_: str
) -> None:
    image = await made(tmp_path, format_)
    (tmp_path / "shelf").mkdir()
    async with shelf(tmp_path / "shelf") as server:
        allowed = (*world.settings.imports.allowed, f"127.0.0.1/32:{server.port}")
        imports = world.settings.imports.model_copy(update={"allowed": allowed})
        importer = Importer(world.settings.model_copy(update={"imports": imports}), world.client)
        for pack, packed in PACKS.items():
            got = await importer.run(source(world, server, pack, packed(image)))
            assert (got.format, got.cdrom) == (FORMATS[format_], format_ == "iso"), pack
            cached = (await world.cache.ensure(got.reference)).path
            if format_ in ("vmdk", "vdi"):
                qemu_img("compare", "-f", "qcow2", "-F", "qcow2", tmp_path / "sound", cached)
            else:
                assert cached.read_bytes() == image, pack


HASHES: dict[str, Callable[[], Any]] = {
    **{name: getattr(hashlib, name) for name in ("md5", "sha1", "sha256", "sha512")},
    **{name: partial(Streebog, name) for name in ("streebog256", "streebog512")},
}


async def test_every_checksum_right_and_wrong(world: World) -> None:
    image = gzip.compress(iso_image())
    world.source.routes["/a"] = image
    right = {}
    for name, new in HASHES.items():
        hash_ = new()
        hash_.update(image)
        right[name] = hash_.hexdigest()
    assert (await world.load("/a", **right)).format is ImageFormat.ISO
    for name, digits in right.items():
        wrong = digits[:-1] + ("0" if digits[-1] != "0" else "1")
        with pytest.raises(PermanentError, match=f"{name} sum mismatch: the source's is {digits}"):
            await world.load("/a", uid="u2", name=name, **{**right, name: wrong})
    assert await world.client.tags("vi/ns/md5") == []
    assert await world.client.catalog() == ["vi/ns/image"]
