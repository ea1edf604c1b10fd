"""Which file of a container image is its disk, and what no honest image has."""

from __future__ import annotations

import bz2
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import PermanentError, TemporaryError
from registry.remote.manifest import architecture
from tests.unit.registry.remote.shelf import (
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Shelf,
    archive,
    digest,
    gz,
    link,
    member,
    taken,
    zstd,
)

pytestmark = pytest.mark.loop_seconds(10, "the test packs what it serves")

DISK = b"\xeb\x63\x90" + os.urandom(3 << 20)
DISK_LAYER = archive(member("disk/", type=tarfile.DIRTYPE), member("disk/disk.img", DISK))


@pytest.mark.parametrize(
    ("pack", "layer_type", "manifest_type"),
    [
        (bytes, OCI_LAYER, OCI_MANIFEST),
        (gz, f"{OCI_LAYER}+gzip", OCI_MANIFEST),
        (zstd, f"{OCI_LAYER}+zstd", OCI_MANIFEST),
        (gz, DOCKER_LAYER, DOCKER_MANIFEST),
        (gz, OCI_LAYER, OCI_MANIFEST),
        (bz2.compress, "", OCI_MANIFEST),
    ],
    ids=["oci", "oci gzip", "oci zstd", "docker", "gzip that says it is none", "of no type"],
)
async def test_layers_of_every_kind(
    shelf: Shelf, tmp_path: Path, pack: Callable[[bytes], bytes], layer_type: str, manifest_type: str
) -> None:
    shelf.push(shelf.blob(pack(DISK_LAYER), layer_type), media_type=manifest_type)
    assert await taken(shelf, tmp_path) == DISK


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["disk/a.img", "./disk/a.img", "/disk/a.img", "disk/deep/" + "n" * 90 + "/a.img"])
async def test_names_of_every_form(shelf: Shelf, tmp_path: Path, format_: int, name: str) -> None:
    shelf.push(shelf.blob(archive(member("etc/x", b"1" * 700), member(name, DISK), format_=format_)))
    assert await taken(shelf, tmp_path) == DISK


async def test_the_disk_may_be_in_any_layer_beside_other_files(shelf: Shelf, tmp_path: Path) -> None:
    base = archive(member("etc/passwd", b"root"), link("bin", "usr/bin"), member("usr/diskless", b"x" * 5000))
    top = archive(member("disk/", type=tarfile.DIRTYPE), member("disk/.keep"), link("etc/mtab", "../proc/mounts"))
    shelf.push(shelf.blob(base), shelf.blob(gz(DISK_LAYER), DOCKER_LAYER), shelf.blob(top))
    assert await taken(shelf, tmp_path) == DISK


async def test_a_layer_above_decides_what_is_left_of_those_below(shelf: Shelf, tmp_path: Path) -> None:
    old = shelf.blob(archive(member("disk/disk.img", b"old" * 1000), member("disk/other.img", b"other" * 1000)))
    for above, left in (
        (archive(member("disk/disk.img", b"new" * 1000)), b"new" * 1000),
        (archive(member("disk/.wh.disk.img")), b"other" * 1000),
        (archive(link("disk/disk.img", "elsewhere")), b"other" * 1000),
        (archive(member("etc/.wh.disk.img")), b"old" * 1000),
    ):
        shelf.push(old, shelf.blob(above))
        assert await taken(shelf, tmp_path) == left
    for above in (
        archive(member(".wh.disk")),
        archive(member("disk/.wh..wh..opq")),
        archive(member(".wh..wh..opq")),
        archive(member("disk", b"a file in its place")),
    ):
        shelf.push(old, shelf.blob(above))
        with pytest.raises(PermanentError, match="no file in its folder disk/"):
            await taken(shelf, tmp_path)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
async def test_of_several_architectures_the_hosts_is_taken(shelf: Shelf, tmp_path: Path, media_type: str) -> None:
    ours = shelf.push(shelf.blob(DISK_LAYER), tag="ours")
    other = shelf.push(shelf.blob(archive(member("disk/x", b"other"))), tag="other")
    shelf.put(
        {
            "schemaVersion": 2,
            "manifests": [
                {**other, "platform": {"os": "unknown", "architecture": "unknown"}},
                {**other, "platform": {"os": "linux", "architecture": "riscv64"}},
                {**ours, "platform": {"os": "linux", "architecture": architecture()}},
            ],
        },
        media_type,
        "1",
    )
    assert await taken(shelf, tmp_path) == DISK
    shelf.put(
        {"schemaVersion": 2, "manifests": [{**other, "platform": {"os": "linux", "architecture": "riscv64"}}]},
        media_type,
        "1",
    )
    with pytest.raises(TemporaryError, match=f"no image for linux/{architecture()}, only for linux/riscv64"):
        await taken(shelf, tmp_path)


async def test_an_image_by_its_digest_is_that_or_none(shelf: Shelf, tmp_path: Path) -> None:
    named = shelf.push(shelf.blob(DISK_LAYER))["digest"]
    assert await taken(shelf, tmp_path, shelf.image(f"a/disk:other@{named}")) == DISK
    shelf.documents[named] = (shelf.documents[named][0] + b" ", OCI_MANIFEST)
    with pytest.raises(PermanentError, match="with another manifest"):
        await taken(shelf, tmp_path, shelf.image(f"a/disk@{named}"))


HOSTILE: dict[str, tuple[bytes, str]] = {
    "a way out": (archive(member("disk/../../etc/shadow", b"x")), "leads out of its folder"),
    "a way out before": (archive(member("../disk/a.img", b"x")), "leads out of its folder"),
    "a link": (archive(link("disk/a.img", "/etc/shadow")), "is a link"),
    "a hard link": (archive(member("x", b"x"), link("disk/a.img", "x", tarfile.LNKTYPE)), "is a link"),
    "the folder a link": (archive(link("disk", "/etc")), "is a link"),
    "a device": (archive(member("disk/a.img", type=tarfile.BLKTYPE)), "no file in its folder"),
    "a fifo": (archive(member("disk/a.img", type=tarfile.FIFOTYPE)), "no file in its folder"),
    "an empty file": (archive(member("disk/a.img")), "no file in its folder"),
    "no archive": (b"\x01" * 4096, "no tar archive"),
    "an archive cut in its file": (DISK_LAYER[: 1 << 20], "more than its layer of 1048576 bytes can hold"),
    "a packed one cut in its file": (gz(DISK_LAYER[: 1 << 20]), "cut short"),
    "a packed one cut": (gz(DISK_LAYER)[: 1 << 20], "damaged or cut short"),
    "an archive cut in a header": (DISK_LAYER[:700], "cut short"),
    "a sparse file": (
        archive(member("disk/a.img", b"x" * 512, pax_headers={"GNU.sparse.major": "1"})),
        "stored as a sparse file",
    ),
    "a long extended header": (
        archive(member("disk/a.img", b"x", pax_headers={"comment": "x" * (2 << 20)})),
        "extended header of",
    ),
    "a damaged extended header": (
        archive(member("x", b"xx path=y\n", type=tarfile.XHDTYPE), member("disk/a.img", b"x")),
        "damaged extended header",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_what_no_honest_layer_has_is_refused(shelf: Shelf, tmp_path: Path, case: str) -> None:
    layer, sentence = HOSTILE[case]
    shelf.push(shelf.blob(layer))
    with pytest.raises(PermanentError, match=sentence):
        await taken(shelf, tmp_path)


def claiming(size: int) -> bytes:
    entry = tarfile.TarInfo("disk/a.img")
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT) + b"x" * 4096


async def test_a_file_that_claims_more_than_its_layer_holds_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    shelf.push(shelf.blob(claiming(1 << 50)))
    with pytest.raises(PermanentError, match="claims 1125899906842624 bytes, more than its layer"):
        await taken(shelf, tmp_path)
    shelf.push(shelf.blob(claiming(-5)))
    with pytest.raises(PermanentError, match="negative size"):
        await taken(shelf, tmp_path)


@pytest.mark.parametrize("pack", [bytes, gz], ids=["plain", "gzip"])
async def test_a_layer_that_is_not_what_its_manifest_says(
    shelf: Shelf, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(DISK_LAYER)
    layer = shelf.blob(data)
    shelf.push(layer)
    shelf.blobs[digest(data)] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(PermanentError, match="is not what its manifest says: its sha256 is"):
        await taken(shelf, tmp_path)
    shelf.blobs[digest(data)] = data + b"more"
    with pytest.raises(PermanentError, match=rf"has {len(data)} bytes there, and the registry sends"):
        await taken(shelf, tmp_path)


MANIFESTS: dict[str, tuple[Any, str]] = {
    "a size of none": ({"size": None}, "a layer without a size"),
    "a size below zero": ({"size": -1}, "a layer without a size"),
    "a size of text": ({"size": "12"}, "a layer without a size"),
    "a size without end": ({"size": 10**30}, "a layer without a size"),
    "more than is taken": ({"size": 1 << 50}, "imports.max_download_bytes"),
    "a digest that is a path": ({"digest": "sha256:../../../etc/passwd"}, "as a digest"),
    "a digest nobody can verify": ({"digest": "md5:" + "0" * 32}, "as a digest"),
    "no digest": ({"digest": None}, "as a digest"),
}


@pytest.mark.parametrize("case", MANIFESTS)
async def test_a_manifest_that_lies_is_refused(shelf: Shelf, tmp_path: Path, case: str) -> None:
    fields, sentence = MANIFESTS[case]
    shelf.push({**shelf.blob(DISK_LAYER), **fields})
    with pytest.raises(PermanentError, match=sentence):
        await taken(shelf, tmp_path)


DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"<html>", "is no JSON object"),
    "deep JSON": (b"[" * 200_000, "is no JSON object"),
    "a list": (b"[]", "is no JSON object"),
    "many values": (b'{"schemaVersion":2,"layers":[' + b"[]," * 60_000 + b"0]}", "has more than 50000 values"),
    "schema 1": (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1 are too old"),
    "both": (b'{"schemaVersion": 2, "layers": [], "manifests": []}', "neither that of an image nor an index"),
    "no layers": (b'{"schemaVersion": 2, "layers": []}', "no file in its folder"),
    "layers of nothing": (b'{"schemaVersion": 2, "layers": 7}', "no sane list of layers"),
    "very many layers": (b'{"schemaVersion": 2, "layers": [' + b"1," * 600 + b"1]}", "no sane list of layers"),
    "a large one": (b" " * (5 << 20), "more than 4194304 bytes of metadata"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
async def test_a_document_that_is_no_manifest_is_refused(shelf: Shelf, tmp_path: Path, case: str) -> None:
    body, sentence = DOCUMENTS[case]
    shelf.put(body, OCI_MANIFEST, "1")
    with pytest.raises(PermanentError, match=sentence):
        await taken(shelf, tmp_path)


async def test_an_index_in_itself_ends(shelf: Shelf, tmp_path: Path) -> None:
    image = shelf.push(shelf.blob(DISK_LAYER))
    for _ in range(4):
        image = shelf.put({"schemaVersion": 2, "manifests": [image]}, OCI_INDEX, "1")
    with pytest.raises(PermanentError, match="index of indexes without end"):
        await taken(shelf, tmp_path)
