"""Digests of an image's chunks: what lets any part of it be believed before the rest is there.

They stand in the image's config, which nothing that handles images drops or takes for a layer, and which the
manifest names by digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final, Self

from hyperd.jsontypes import Json, JsonObject

_SMALLEST: Final = 256 << 10
_LARGEST: Final = 4 << 20
"""A guest that reads one sector waits for a whole chunk."""
_MOST: Final = 32_768
"""Chunks: their digests are read whenever a disk is made of the image."""
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True)
class ChunkDigests:
    """``size`` is that of each chunk but the last; ``sha256`` are their digests, one after the other."""

    size: int
    sha256: bytes

    def __len__(self) -> int:
        return len(self.sha256) // _DIGEST_BYTES

    def matches(self, number: int, chunk: bytes | memoryview) -> bool:
        """Whether that is what the chunk shall be. Takes a millisecond a MiB."""
        start = number * _DIGEST_BYTES
        return hashlib.sha256(chunk).digest() == self.sha256[start : start + _DIGEST_BYTES]

    def to_json(self) -> JsonObject:
        return {"size": self.size, "sha256": base64.b64encode(self.sha256).decode()}

    @classmethod
    def from_json(cls, content: Json, *, of: int) -> Self | None:
        """Of an image of ``of`` bytes; None for what cannot be its digests, which is an image without any."""
        if not isinstance(content, dict):
            return None
        size, digests = content.get("size"), content.get("sha256")
        if not isinstance(size, int) or not isinstance(digests, str) or not _SMALLEST <= size <= _LARGEST:
            return None
        try:
            raw = base64.b64decode(digests, validate=True)
        except (binascii.Error, ValueError):
            return None
        found = cls(size, raw)
        return found if len(raw) == _DIGEST_BYTES * -(-of // size) else None


class Chunker:
    """Takes an image of ``size`` bytes as it comes; ``digests`` are those of all of it.

    One that is so large that it would need too many chunks has none.
    """

    def __init__(self, size: int) -> None:
        self._size = _SMALLEST
        while self._size < _LARGEST and -(-size // self._size) > _MOST:
            self._size *= 2
        self._fits = -(-size // self._size) <= _MOST
        self._hash, self._held = hashlib.sha256(), 0
        self._digests = bytearray()

    def update(self, block: bytes) -> None:
        """The next bytes. Blocks for as long as they are hashed."""
        if not self._fits:
            return
        left = memoryview(block)
        while left:
            piece, left = left[: self._size - self._held], left[self._size - self._held :]
            self._hash.update(piece)
            self._held += len(piece)
            if self._held == self._size:
                self._close()

    def digests(self) -> ChunkDigests | None:
        """After the last byte."""
        if not self._fits:
            return None
        if self._held:
            self._close()
        return ChunkDigests(self._size, bytes(self._digests))

    def _close(self) -> None:
        self._digests += self._hash.digest()
        self._hash, self._held = hashlib.sha256(), 0
