from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import pytest

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import ImageFormat
from registry import layout
from registry.chunks import Chunker
from registry.layout import DiskFile, Layer

DISK = DiskFile(ImageFormat.QCOW2, 1000, 4 << 20, "ab" * 32, "cd" * 32)
LAYER = Layer("sha256:" + "0" * 64, 8192)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 5000])
@pytest.mark.parametrize("format_", list(ImageFormat))
def test_a_layer_is_a_tar_that_any_tool_unpacks_with_its_data_at_4096(format_: ImageFormat, size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    layer = layout.header(format_, size) + data + layout.trailer(size)
    assert len(layer) == layout.layer_size(size)
    assert layer[4096 : 4096 + size] == data
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        folder, file = archive.getmembers()
        assert folder.isdir()
        assert file.name == f"disk/disk.{format_.suffix}"
        assert (file.uid, file.gid, file.mode) == (107, 107, 0o644)
        extracted = archive.extractfile(file)
        assert extracted is not None
        assert extracted.read() == data


def test_a_disk_beyond_8_gib_keeps_its_size() -> None:
    header = layout.header(ImageFormat.RAW, 1 << 40)
    assert len(header) == 4096
    assert tarfile.TarInfo.frombuf(header[3584:], "utf-8", "strict").size == 1 << 40


def test_what_the_config_says_reads_back() -> None:
    config = layout.config(DISK, LAYER)
    assert layout.parse_config(config) == DISK
    manifest = json.loads(layout.manifest(DISK, LAYER, config_digest="sha256:1", config_size=1, tag="u1"))
    assert layout.parse_manifest(manifest) == ("sha256:1", LAYER)
    assert manifest["layers"][0]["annotations"] == json.loads(config)["config"]["Labels"]


def test_two_tags_of_one_image_have_different_manifests() -> None:
    first, second = (
        layout.manifest(DISK, LAYER, config_digest="sha256:1", config_size=1, tag=tag) for tag in ("a", "b")
    )
    assert first != second


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"layers": []},
        {"layers": [{}, {}], "config": {"digest": "x"}},
        {
            "layers": [{"mediaType": f"{layout.LAYER_TYPE}+gzip", "digest": "x", "size": 9999}],
            "config": {"digest": "x"},
        },
        {"layers": [{"mediaType": layout.LAYER_TYPE, "digest": "x", "size": "9999"}], "config": {"digest": "x"}},
        {"layers": [{"mediaType": layout.LAYER_TYPE, "digest": "x", "size": 9999}], "config": []},
        {"layers": 7},
    ],
)
def test_a_foreign_manifest_is_refused(manifest: dict[str, object]) -> None:
    with pytest.raises(PermanentError, match="not made by hyperd"):
        layout.parse_manifest(manifest)


@pytest.mark.parametrize(
    "config",
    [b"", b"[]", b"{}", b'{"config": null}', b'{"config": {"Labels": {"hyperd.image.offset": "7"}}}', b"\xff"],
)
def test_a_foreign_config_is_refused(config: bytes) -> None:
    with pytest.raises(PermanentError, match="not made by hyperd"):
        layout.parse_config(config)


def test_the_digests_of_a_disks_chunks_come_back_with_it() -> None:
    data = bytes(range(256)) * 4096
    chunker = Chunker(len(data))
    for start in range(0, len(data), 100_001):
        chunker.update(data[start : start + 100_001])
    chunks = chunker.digests()
    assert chunks is not None
    assert (chunks.size, len(chunks)) == (256 << 10, 4)
    assert chunks.matches(3, data[-chunks.size :])
    assert not chunks.matches(3, data[-chunks.size : -1])
    disk = replace(DISK, size=len(data), chunks=chunks)
    assert layout.parse_config(layout.config(disk, LAYER)) == disk


@pytest.mark.parametrize(
    "chunks",
    [
        None,
        [],
        {},
        {"size": 1, "sha256": ""},
        {"size": 256 << 10, "sha256": "?"},
        {"size": 256 << 10, "sha256": "AAAA"},
        {"size": "262144", "sha256": "AAAA"},
        {"size": 1 << 40, "sha256": ""},
    ],
    ids=str,
)
def test_digests_that_cannot_be_the_disks_are_none(chunks: object) -> None:
    content = json.loads(layout.config(DISK, LAYER))
    content["hyperd.image.chunks"] = chunks
    assert layout.parse_config(json.dumps(content).encode()) == DISK


def test_a_disk_has_no_more_chunks_than_are_read_with_ease() -> None:
    for size, chunk in ((1 << 33, 256 << 10), ((1 << 33) + 1, 512 << 10), (1 << 37, 4 << 20)):
        assert Chunker(size)._size == chunk
    assert Chunker((1 << 37) + 1).digests() is None
