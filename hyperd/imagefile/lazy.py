"""Images of the node's cache that are read before they are there: what their files are called, and by what.

An image that is being fetched has hidden files beside its place, all called by its layer's digest: what has come
so far, which parts of it that are, what it shall be, and how the fetch fares. Its volumes' headers name the place
where it will be, so that nothing of them changes once it is there. Until then one process of the node serves it
over NBD: it alone writes what is beside the record.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from hyperd.imagefile import files
from hyperd.imagefile.handle import FileHandle, NbdHandle

_RECORD: Final = re.compile(r"\.([0-9a-f]{64})\.lazy\.json")
_REMAINS: Final = re.compile(r"\.{1,2}([0-9a-f]{64})\.lazy(?:\..*)?")
_STATE_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class LazyFiles:
    """Of one image: ``digest`` are the hex digits of its layer's."""

    folder: Path
    digest: str

    @property
    def record(self) -> Path:
        """What the image shall be. As long as it is there the image is being fetched, or was until just now."""
        return self.folder / f".{self.digest}.lazy.json"

    @property
    def data(self) -> Path:
        """As large as the image; what has not come is a hole."""
        return self.folder / f".{self.digest}.lazy"

    @property
    def map(self) -> Path:
        """Which chunks are in ``data`` for good."""
        return self.folder / f".{self.digest}.lazy.map"

    @property
    def state(self) -> Path:
        """``FetchState``, written by who fetches."""
        return self.folder / f".{self.digest}.lazy.state"

    def remove_remains(self) -> None:
        """What a fetch leaves whose record is gone; none is fine. Blocks."""
        for path in (self.data, self.map, self.state):
            path.unlink(missing_ok=True)
            files.temporary(path).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class FetchState:
    """How the fetch of an image fares. Sizes in bytes, ``speed`` in bytes a second, on the average.

    ``fault`` is a sentence where what the registry sent is not the image: whoever reads that gets an error, and
    somebody has where it is ``refused``.
    ``trouble`` is one where it waits for the registry, or for room. ``readers`` are connections of guests.
    """

    fetched: int
    size: int
    speed: int = 0
    fault: str = ""
    refused: bool = False
    trouble: str = ""
    readers: int = 0

    @property
    def fraction(self) -> float:
        return self.fetched / self.size if self.size else 1.0


def begun(folder: Path) -> list[LazyFiles]:
    """The images that are being fetched, or were until just now. Blocks."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [LazyFiles(folder, found[1]) for name in names if (found := _RECORD.fullmatch(name))]


def clean(folder: Path) -> None:
    """Remove what fetches left whose records are gone, while nobody fetches. Blocks."""
    there = {each.digest for each in begun(folder)}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            found = _REMAINS.fullmatch(name)
            if found is not None and found[1] not in there:
                files.unlink(folder / name)


def files_of(image: Path) -> LazyFiles:
    """Those of the image whose place is ``image``."""
    return LazyFiles(image.parent, image.stem)


def is_missing(image: Path) -> bool:
    """Whether the image is being fetched, and not there yet. Blocks."""
    return not image.exists() and files_of(image).record.exists()


def served(image: FileHandle, socket: Path) -> NbdHandle:
    """What reads the image while it is being fetched."""
    return NbdHandle(socket, files_of(image.path).digest, image.format)


def read_state(of: LazyFiles) -> FetchState | None:
    """None before the fetch has begun. Blocks."""
    try:
        with of.state.open("rb") as file:
            found = orjson.loads(file.read(_STATE_BYTES))
        return FetchState(**found)
    except (OSError, ValueError, TypeError):
        return None
