"""How an image lies in the registry: a runnable OCI image whose disk can still be read by range.

One uncompressed tar layer holds ``disk/disk.<suffix>``; a comment pads its headers so that the data starts at byte
4096: QEMU can read it in place, and a file system can share its blocks. The same facts are labels of the config
and annotations of the layer, since tools drop annotations. The config has the digests of the disk's chunks, too.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import ImageFormat
from registry.chunks import ChunkDigests

DATA_OFFSET = 4096
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_BLOCK = tarfile.BLOCKSIZE
_QEMU_ID = 107
_CHUNKS = "hyperd.image.chunks"
"""Beside the labels: those are for what is short."""
_PAX_BODY_BYTES = DATA_OFFSET - 3 * _BLOCK


@dataclass(frozen=True)
class DiskFile:
    """The file inside the layer; sizes in bytes, ``source`` marks what it was made from.

    ``chunks`` are the digests of its parts, None for one of an earlier release, or one that is too large.
    """

    format: ImageFormat
    size: int
    virtual_size: int
    sha256: str
    source: str
    chunks: ChunkDigests | None = None

    def labels(self) -> dict[str, str]:
        """As config labels and layer annotations."""
        return {
            "source-image-size": str(self.size),
            "source-image-virtual-size": str(self.virtual_size),
            "source-image-format": self.format.value,
            "erofs-compatible-layers": "true",
            "hyperd.image.offset": str(DATA_OFFSET),
            "hyperd.image.sha256": self.sha256,
            "hyperd.image.source": self.source,
        }

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> DiskFile:
        """PermanentError if the image was not made by this layout."""
        try:
            if int(labels["hyperd.image.offset"]) != DATA_OFFSET:
                raise ValueError("another offset")
            return cls(
                ImageFormat(labels["source-image-format"]),
                int(labels["source-image-size"]),
                int(labels["source-image-virtual-size"]),
                labels["hyperd.image.sha256"],
                labels["hyperd.image.source"],
            )
        except (KeyError, ValueError, TypeError) as err:
            raise PermanentError(
                f"The image in the registry was not made by hyperd: its labels lack or garble {err}."
            ) from err


@dataclass(frozen=True)
class Layer:
    """Digest and size of the one layer."""

    digest: str
    size: int


def layer_size(disk_size: int) -> int:
    """Bytes of the layer around a disk file of ``disk_size``."""
    return DATA_OFFSET + disk_size + len(trailer(disk_size))


def header(format_: ImageFormat, disk_size: int) -> bytes:
    """The 4096 bytes before the data."""
    folder = _entry("disk/", tarfile.DIRTYPE, 0, mode=0o755)
    comment = f"{_PAX_BODY_BYTES} comment=".encode()
    body = comment + b"p" * (_PAX_BODY_BYTES - len(comment) - 1) + b"\n"
    extended = _entry("disk/pax", tarfile.XHDTYPE, len(body), mode=0o644)
    return folder + extended + body + _entry(f"disk/disk.{format_.suffix}", tarfile.REGTYPE, disk_size, mode=0o644)


def trailer(disk_size: int) -> bytes:
    """The zeros after the data: to the next block, and two blocks that end the archive."""
    return bytes(-disk_size % _BLOCK + 2 * _BLOCK)


def config(disk: DiskFile, layer: Layer) -> bytes:
    """The image's config; the diff id is the digest, since nothing is compressed."""
    chunks = {} if disk.chunks is None else {_CHUNKS: disk.chunks.to_json()}
    return _encode(
        {
            "architecture": "amd64",
            "os": "linux",
            "author": "hyperd",
            "config": {"WorkingDir": "/", "Labels": disk.labels()},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
            **chunks,
        }
    )


def manifest(disk: DiskFile, layer: Layer, *, config_digest: str, config_size: int, tag: str) -> bytes:
    """The manifest. It names its own tag, so that two tags never share a digest and are deleted apart."""
    return _encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": config_size},
            "layers": [
                {
                    "mediaType": LAYER_TYPE,
                    "digest": layer.digest,
                    "size": layer.size,
                    "annotations": disk.labels(),
                }
            ],
            "annotations": {"hyperd.image.tag": tag},
        }
    )


def parse_manifest(content: Mapping[str, Any]) -> tuple[str, Layer]:
    """The config's digest and the one layer; PermanentError for any other shape."""
    try:
        (layer,) = content["layers"]
        if layer["mediaType"] != LAYER_TYPE:
            raise ValueError(f"its layer is {layer['mediaType']}")
        size = layer["size"]
        if not isinstance(size, int) or size <= DATA_OFFSET:
            raise ValueError("its layer is too small")
        return str(content["config"]["digest"]), Layer(str(layer["digest"]), size)
    except (KeyError, ValueError, TypeError) as err:
        raise PermanentError(f"The image in the registry was not made by hyperd: {err}.") from err


def parse_config(body: bytes) -> DiskFile:
    """What the config's labels say."""
    try:
        content = json.loads(body)
        disk = DiskFile.from_labels(content["config"]["Labels"])
        return replace(disk, chunks=ChunkDigests.from_json(content.get(_CHUNKS), of=disk.size))
    except (KeyError, ValueError, TypeError) as err:
        raise PermanentError(f"The image in the registry was not made by hyperd: {err}.") from err


def _entry(name: str, kind: bytes, size: int, *, mode: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode = kind, size, mode
    entry.uid = entry.gid = _QEMU_ID
    return entry.tobuf(tarfile.GNU_FORMAT)


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
