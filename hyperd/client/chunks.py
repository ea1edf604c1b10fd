"""What a disk held at one moment, as chunks by their digests: how a backup says where each of them is.

A backup is an OCI artifact. Its first layer is an index of fixed records, one a chunk of the disk in order; the
others hold chunks one after the other. Each backup lists all layers that its own index leads to, those of earlier
ones included: any one of them can be restored, and be deleted, whatever becomes of the others.
"""

from __future__ import annotations

import hashlib
import struct

from hyperd.client.oci import MANIFEST_TYPE, Blob, check_digest, encoded
from hyperd.errors import PermanentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hyperd.jsontypes import Json, JsonObject

ARTIFACT_TYPE = "application/vnd.hyperd.disk.backup.v1"
CONFIG_TYPE = "application/vnd.hyperd.disk.backup.config.v1+json"
INDEX_TYPE = "application/vnd.hyperd.disk.index.v1"
CHUNKS_TYPE = "application/vnd.hyperd.disk.chunks.v1"
CHUNK_BYTES = 4 << 20
MOST_INDEX_BYTES = 256 << 20
_MOST_DISK_BYTES = 16 << 40
_MOST_LAYERS = 10_000
_RECORD = struct.Struct(">32sII")
"""sha256, and the layer and place in it; a chunk of zeros is in layer 0, which is the index itself."""
_ZEROS = bytes(CHUNK_BYTES)


class Place:
    """Where a chunk is: in the layer called ``layer``, as its ``slot``-th."""

    __slots__ = ("layer", "slot")

    def __init__(self, layer: str, slot: int) -> None:
        self.layer = layer
        self.slot = slot


class Index:
    """The chunks of one disk; None is one of zeros."""

    def __init__(self, size: int, chunks: Sequence[tuple[bytes, Place] | None], sizes: Mapping[str, int]) -> None:
        """``sizes`` are those of layers, by digest."""
        self.size = size
        self.chunks = chunks
        self.sizes = sizes

    def layers(self) -> list[str]:
        """Those that it leads to, in the order in which it does."""
        return list(dict.fromkeys(entry[1].layer for entry in self.chunks if entry is not None))

    def encoded(self) -> bytes:
        numbers = {layer: number for number, layer in enumerate(self.layers(), 1)}
        return b"".join(
            bytes(_RECORD.size)
            if entry is None
            else _RECORD.pack(entry[0], numbers[entry[1].layer], entry[1].slot)
            for entry in self.chunks
        )

    @classmethod
    def decoded(cls, size: int, body: bytes, layers: Sequence[Blob]) -> Index:
        """``layers`` are those that hold chunks. Raises PermanentError."""
        count = -(-size // CHUNK_BYTES)
        if len(body) != count * _RECORD.size:
            raise PermanentError("The backup's index has another length than its disk asks for.")
        chunks: list[tuple[bytes, Place] | None] = []
        for digest, number, slot in _RECORD.iter_unpack(body):
            if not number:
                chunks.append(None)
                continue
            if number > len(layers) or (slot + 1) * CHUNK_BYTES > layers[number - 1].size:
                raise PermanentError("The backup's index leads to what is in none of its layers.")
            chunks.append((digest, Place(layers[number - 1].digest, slot)))
        return cls(size, chunks, {layer.digest: layer.size for layer in layers})


def config(*, size: int, source: str, created: str, parent: str) -> bytes:
    """What a backup says of itself."""
    told: JsonObject = {"size": size, "chunkSize": CHUNK_BYTES, "source": source, "created": created}
    return encoded({**told, "parent": parent} if parent else told)


def manifest(described: Blob, index: Blob, layers: Sequence[Blob]) -> JsonObject:
    """Of a backup; ``described`` is its config."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": described.described(CONFIG_TYPE),
        "layers": [index.described(INDEX_TYPE), *(layer.described(CHUNKS_TYPE) for layer in layers)],
    }


class Parsed:
    """A backup's manifest, understood."""

    def __init__(self, content: JsonObject) -> None:
        """Raises PermanentError for what is no backup."""
        layers = content.get("layers")
        if not isinstance(layers, list) or not 0 < len(layers) <= _MOST_LAYERS:
            raise _foreign()
        self.config = _blob(content.get("config"), CONFIG_TYPE)
        self.index = _blob(layers[0], INDEX_TYPE)
        self.layers = [_blob(layer, CHUNKS_TYPE) for layer in layers[1:]]


def disk_size(told: Json) -> int:
    """Of the disk, as a backup's config tells it. Raises PermanentError."""
    size = told.get("size") if isinstance(told, dict) and told.get("chunkSize") == CHUNK_BYTES else None
    if not isinstance(size, int) or not 0 < size <= _MOST_DISK_BYTES:
        raise PermanentError("What is there is no backup of a disk that this hv understands.")
    return size


def is_zeros(chunk: bytes | bytearray) -> bool:
    return chunk == (_ZEROS if len(chunk) == CHUNK_BYTES else bytes(len(chunk)))


def digest_of(chunk: bytes | bytearray) -> bytes:
    return hashlib.sha256(chunk).digest()


def runs(index: Index, most: int) -> Iterator[tuple[str, int, list[bytes]]]:
    """What is read at once: layer, first place and the digests of chunks that are neighbours there, in order."""
    layer, first, digests = "", 0, list[bytes]()
    for entry in index.chunks:
        if entry is None:
            continue
        digest, place = entry
        if digests and (place.layer, place.slot) == (layer, first + len(digests)) and len(digests) < most:
            digests.append(digest)
            continue
        if digests:
            yield layer, first, digests
        layer, first, digests = place.layer, place.slot, [digest]
    if digests:
        yield layer, first, digests


def _blob(described: Json, media_type: str) -> Blob:
    """Raises PermanentError for what is another kind of thing."""
    size = described.get("size") if isinstance(described, dict) else None
    if not isinstance(described, dict) or described.get("mediaType") != media_type:
        raise _foreign()
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _foreign()
    return Blob(check_digest(described.get("digest")), size)


def _foreign() -> PermanentError:
    return PermanentError("What is there is no backup of a disk.")
