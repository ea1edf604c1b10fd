"""Volumes and snapshots of the directory pool as the layers of which they are made: pure functions of a listing.

A layer is a qcow2 file, ``<volume>.qcow2`` or, where it was begun by a snapshot or a clone,
``<volume>.<begun by>.qcow2``; its header names the layer or the image below it. The one of a volume's layers that
carries no mark and that no other layer reads is its top: what a guest writes to. A mark is an empty file
``<layer>@<uid>.<kind>``, so that a listing of names tells all but the order of the layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.storage.interface import UID

SUFFIX = ".qcow2"
_LAYER = rf"{UID.pattern}(?:\.{UID.pattern})?"


class MarkKind(StrEnum):
    """What a mark says of its layer."""

    SNAPSHOT = "snapshot"
    """It holds the snapshot of that uid."""
    GARBAGE = "garbage"
    """It held what nobody asks for any more, and goes once no other layer reads it."""
    PREPARING = "preparing"
    """It was made for the snapshot of that uid, which is not committed yet."""
    MERGING = "merging"
    """What it has is being copied by a guest's QEMU into the layer below, of the volume of that uid."""
    SETTLING = "settling"
    """It was made for a guest to go on in, of the volume of that uid, which has not done so for good yet."""
    PULLING = "pulling"
    """What it has is being copied into the layer of that name; until that is durable it stays."""


_BY_UID = "|".join(kind for kind in MarkKind if kind is not MarkKind.PULLING)
NAME = re.compile(rf"{_LAYER}(?:\{SUFFIX}|@{UID.pattern}\.(?:{_BY_UID})|@{_LAYER}\.{MarkKind.PULLING})")
"""Of all files of the pool's folder."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One file; sizes in bytes, a damaged one has a virtual size of 0. ``backing`` is what it overlays."""

    path: Path
    virtual_size: int
    allocated: int
    backing: FileHandle | None

    @property
    def uid(self) -> str:
        """Of the volume that it was made for."""
        return self.path.name.partition(".")[0]

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)

    @property
    def handle(self) -> FileHandle:
        return FileHandle(self.path, DiskFormat.QCOW2)


@dataclass(frozen=True, slots=True)
class Mark:
    """``uid``, or of a pull the name of a layer, of kind ``kind`` at the layer called ``layer``."""

    layer: str
    uid: str
    kind: MarkKind

    @property
    def file(self) -> str:
        return f"{self.layer}@{self.uid}.{self.kind}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        layer, at, rest = name.partition("@")
        uid, _, kind = rest.rpartition(".")
        return cls(layer, uid, MarkKind(kind)) if at else None


class Tree:
    """All layers and marks of a pool, or of one volume, at one moment."""

    def __init__(self, layers: Iterable[Layer], marks: Iterable[Mark], unread: Iterable[Path] = ()) -> None:
        """``unread`` are files that are layers by their names, and cannot be looked at."""
        self.layers: Mapping[str, Layer] = {layer.name: layer for layer in layers}
        self.unread: Sequence[Path] = sorted(
            [*unread, *(layer.path for layer in self.layers.values() if not layer.virtual_size)]
        )
        """With the damaged ones: they may read any other layer, so that none is known to be read by nobody."""
        self.marks: Sequence[Mark] = sorted(marks, key=lambda mark: mark.file)
        self._by_path = {layer.path: layer for layer in self.layers.values()}
        self._children: dict[Path, list[Layer]] = {}
        for layer in self.layers.values():
            if layer.backing is not None:
                self._children.setdefault(layer.backing.path, []).append(layer)

    def has(self, path: Path) -> bool:
        """Whether one of the layers is there."""
        return path in self._by_path

    def children(self, layer: Layer) -> Sequence[Layer]:
        """The layers that read ``layer``."""
        return self._children.get(layer.path, ())

    def marked(self, layer: Layer, *kinds: MarkKind) -> Sequence[Mark]:
        """Its marks of these kinds."""
        return [mark for mark in self.marks if mark.layer == layer.name and mark.kind in kinds]

    def mark(self, kind: MarkKind, uid: str) -> Mark | None:
        """The mark of ``uid``."""
        return next((mark for mark in self.marks if (mark.kind, mark.uid) == (kind, uid)), None)

    def pulled(self) -> Sequence[tuple[Layer, Layer, Mark]]:
        """Each lower layer that the upper one reads no more, and may still need; with the mark that says so."""
        found = []
        for mark in self.marks:
            lower, upper = self.layers.get(mark.layer), self.layers.get(mark.uid)
            if mark.kind is not MarkKind.PULLING or lower is None or upper is None:
                continue
            if upper not in self.children(lower):
                found.append((lower, upper, mark))
        return found

    def tops(self) -> Sequence[Layer]:
        """The top of each volume, by uid."""
        held = {mark.layer for mark in self.marks if mark.kind is not MarkKind.PREPARING}
        found = (each for each in self.layers.values() if each.name not in held and not self.children(each))
        return sorted(found, key=lambda layer: layer.uid)

    def chain(self, layer: Layer) -> Sequence[Layer]:
        """``layer`` and the layers below it, itself first."""
        found: list[Layer] = []
        below: Layer | None = layer
        while below is not None and below not in found:
            found.append(below)
            below = None if below.backing is None else self._by_path.get(below.backing.path)
        return found

    def own(self, layer: Layer) -> int:
        """Bytes on disk of a top or snapshot itself: its layer, and those below that nothing else needs."""
        allocated = layer.allocated
        for below in self.chain(layer)[1:]:
            if len(self.children(below)) > 1 or self.marked(below, MarkKind.SNAPSHOT):
                break
            allocated += below.allocated
        return allocated
