"""Keeps imports and garbage collection apart: a collection would remove blobs that are pushed but not tagged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hyperd.errors import TemporaryError

POSTPONED = "ProvisioningPostponed"
"""The reference's reason for what waits for a garbage collection."""
_RETRY_SECONDS = 15.0


class WriteGate:
    """Many writers or one collector; who comes second is told to come again."""

    def __init__(self) -> None:
        self._writers = 0
        self._collecting = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """From the first byte pushed to the tag; TemporaryError during a collection."""
        if self._collecting:
            raise TemporaryError(
                "The import waits for the registry's garbage collection.", key=POSTPONED, delay=_RETRY_SECONDS
            )
        self._writers += 1
        try:
            yield
        finally:
            self._writers -= 1

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """TemporaryError while anything is written or another collection runs."""
        if self._writers or self._collecting:
            raise TemporaryError(
                "The registry's garbage collection waits for running imports to end.",
                key=POSTPONED,
                delay=_RETRY_SECONDS,
            )
        self._collecting = True
        try:
            yield
        finally:
            self._collecting = False
