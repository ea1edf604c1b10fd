"""An upload as the source of an import: read as slowly at most as a source may be that is fetched from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hyperd.errors import TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.settings import ImportSettings
from registry.answers import reading
from registry.fetch import Source
from registry.models import Body
from registry.pace import Pace, paced_blocks


def source_of(body: Body, limits: ImportSettings, *, received: Callable[[int], None]) -> Source:
    """``received`` is told of every read."""
    pace = Pace("The sender", seconds=limits.read_timeout_seconds, speed=limits.slowest_bytes_per_second)
    return Source(body.length, reading(paced_blocks(body, pace, received=received), _told()), coding=body.coding)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ConnectionError as err:
        raise TemporaryError("The upload broke off before all bytes came; send it again.", key=FAILED) from err
