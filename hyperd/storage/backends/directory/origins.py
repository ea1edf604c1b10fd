"""What each volume was made of, as written down when it was made: blocking calls, and pure functions of that.

A guest that has taken over its QEMU writes to the header of its own top, and may have that name another's layer.
So what a header names is believed only where it agrees with a record that no QEMU can write: a file of the folder
``.origins``, by the volume's uid. Volumes of earlier releases have none; their headers are believed, but for what
nobody but its guest may read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import orjson

from hyperd import durable
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import files
from hyperd.imagefile.handle import FileHandle
from hyperd.storage.backends.directory.layers import NAME, SUFFIX, Layer, MarkKind, Tree
from hyperd.storage.interface import check_uid

FOLDER: Final = ".origins"
_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Origin:
    """What a volume may read beside its own layers: those of ``volumes``, by uid, and ``images``, by path."""

    volumes: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()

    @classmethod
    def of_image(cls, image: Path) -> Self:
        return cls(images=frozenset([_text(image)]))


class Origins:
    """The records in the pool's folder ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path / FOLDER

    def file(self, uid: str) -> Path:
        """Where the record of the volume is or will be."""
        return self._path / check_uid(uid)

    def find(self, uid: str) -> Origin | None:
        """None where there is no record. TemporaryError where nobody can tell now."""
        path = self.file(uid)
        try:
            with files.open_regular(path) as file:
                found = orjson.loads(file.read(_LIMIT_BYTES))
            return Origin(frozenset(map(str, found["volumes"])), frozenset(map(str, found["images"])))
        except FileNotFoundError:
            return None
        except OSError as err:
            raise TemporaryError(f"{path} cannot be read: {err.strerror}.") from err
        except (ValueError, KeyError, TypeError) as err:
            raise PermanentError(
                f"{path}, which says what volume {uid} was made of, is damaged. Remove it: the volume is then "
                "read as its files say."
            ) from err

    def of(self, tree: Tree, layer: Layer) -> Origin:
        """What is to be written down of a volume that is made of ``layer``."""
        known = self.find(layer.uid)
        if known is not None:
            return Origin(known.volumes | {layer.uid}, known.images)
        return as_read(tree, layer)

    def put(self, uid: str, origin: Origin) -> None:
        """Durably, before the volume is there."""
        self._path.mkdir(mode=0o700, exist_ok=True)
        path = self.file(uid)
        body = {"volumes": sorted(origin.volumes), "images": sorted(origin.images)}
        with files.full_disk_is_temporary(f"Volume {uid} cannot be made"):
            durable.write(path, orjson.dumps(body), made=files.temporary(path))

    def keep(self, uids: Collection[str], among: Iterable[str] | None = None) -> None:
        """Forget all volumes, or those ``among`` them, that are not in ``uids``."""
        if not self._path.is_dir():
            return
        found = os.listdir(self._path) if among is None else among
        for name in set(found).difference(uids):
            files.unlink(self._path / name)


def as_read(tree: Tree, layer: Layer) -> Origin:
    """What ``layer`` reads by the headers, and what it may be made to read again."""
    volumes, images = set[str](), set[str]()
    pulled = tree.pulled()
    todo, seen = [layer], set[str]()
    while todo:
        for each in tree.chain(todo.pop()):
            if each.name in seen:
                continue
            seen.add(each.name)
            volumes.add(each.uid)
            if each.backing is not None and not tree.has(each.backing.path):
                images.add(_text(each.backing.path))
            todo.extend(lower for lower, upper, _ in pulled if upper is each)
    return Origin(frozenset(volumes), frozenset(images))


def _text(path: Path) -> str:
    """Of a path that may be no text."""
    return str(path).encode(errors="backslashreplace").decode()


def stranger(tree: Tree, top: Layer, origin: Origin | None) -> Path | FileHandle | None:
    """What a volume, or a snapshot of one, is read from though it was not made of it; None where all is well."""
    chain = tree.chain(top)
    for layer in chain[1:]:
        if not may_read(tree, top.uid, layer, origin):
            return layer.path
    image = chain[-1].backing
    if image is None or tree.has(image.path):
        return None
    if image.path.parent == top.path.parent and NAME.fullmatch(image.path.name):
        # A layer that is not to be looked at here: an administrator may have moved it, and left a link.
        name = image.path.name.removesuffix(SUFFIX)
        uid = name.partition(".")[0]
        marked = any(mark.layer == name for mark in tree.marks)
        well = uid == top.uid or (marked and (origin is None or uid in origin.volumes))
    elif origin is None:
        # No image is in the pool, or called otherwise than by its whole path.
        path = image.path
        well = path.is_absolute() and ".." not in path.parts and path.parent != top.path.parent
    else:
        well = _text(image.path) in origin.images
    return None if well else image


def may_read(tree: Tree, uid: str, layer: Layer, origin: Origin | None) -> bool:
    """Whether the volume may have ``layer`` below its own."""
    if layer.uid == uid:
        return True
    if origin is not None and layer.uid not in origin.volumes:
        return False
    # What a guest writes to is read by no other volume. Until a snapshot is committed what it holds has no mark.
    return bool(tree.marked(layer, *MarkKind)) or any(each.uid == layer.uid for each in tree.children(layer))
