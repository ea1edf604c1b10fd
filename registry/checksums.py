"""Checksums of a source, over the bytes as they were served."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import FAILED
from registry import streebog

_ALGORITHMS = ("md5", "sha1", "sha256", "sha512", *streebog.NAMES)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Checksums:
    """Hashes a stream by every algorithm that is asked for, and by sha256 always.

    Raises PermanentError for an algorithm that is not available, TemporaryError for one that is not here now.
    """

    def __init__(self, expected: Mapping[str, str]) -> None:
        self._expected = {name.lower(): digits.lower() for name, digits in expected.items() if digits}
        for name in self._expected:
            if name not in _ALGORITHMS:
                raise PermanentError(
                    f"The checksum {name} is not available here; give one of {', '.join(_ALGORITHMS)} instead.",
                    key=FAILED,
                )
        self._hashes = {name: _hash(name) for name in {*self._expected, "sha256"}}

    def update(self, block: bytes) -> None:
        """Blocking for a few milliseconds a block, and 100 with streebog; releases the interpreter meanwhile."""
        for hash_ in self._hashes.values():
            hash_.update(block)

    @property
    def sha256(self) -> str:
        return self.digest("sha256")

    def digest(self, name: str) -> str:
        """Hex digits of what has come so far."""
        return self._hashes[name].hexdigest()

    def verify(self, *others: Checksums) -> None:
        """PermanentError unless every checksum is as expected, of these bytes or of another form of them."""
        for name, digits in self._expected.items():
            actual = self.digest(name)
            if digits not in (actual, *(other.digest(name) for other in others)):
                raise PermanentError(
                    f"{name} sum mismatch: the source's is {actual}, the image asks for {digits}; either the "
                    "source changed, or the checksum is of another file.",
                    key=FAILED,
                )


def _hash(name: str) -> _Hash:
    if name in streebog.NAMES:
        return streebog.Streebog(name)
    return hashlib.new(name, usedforsecurity=False)
