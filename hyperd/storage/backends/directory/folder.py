"""The pool's folder: the files of ``layers``. Blocking calls.

What exists is what the folder shows: a layer is made under a temporary name and renamed when it is whole, so after
a crash there is either the layer or a temporary file that ``clean`` removes. Backing files are read from the
qcow2 headers, which only the daemon and its guests' QEMU write the backing field of, and never opened here.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from hyperd import crashpoints, durable
from hyperd.crashpoints import CrashPoint
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import files, qcow2
from hyperd.storage import poolmark
from hyperd.storage.backends.directory.layers import NAME, SUFFIX, Layer, Mark, MarkKind, Tree
from hyperd.storage.backends.directory.origins import Origin, Origins
from hyperd.storage.interface import check_uid

FORMAT: Final = 2
"""Of the folder. 1, which no file says, had a file a volume: who knows only that writes to what snapshots hold."""
_MODE = 0o711
"""QEMU's user may pass through to the files that libvirt gives it."""
_ODD = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO)
"""What opening says of what lies there in a volume's place; any other error is of the host, and may pass."""

_log = logging.getLogger(__name__)


class Folder:
    """The files at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.origins = Origins(path)
        self._told: Sequence[Path] = ()
        self._numbered = False

    def file(self, uid: str, begun_by: str = "") -> Path:
        """Where a layer of the volume ``uid`` is or will be: its first one, or that of a snapshot or clone."""
        check_uid(uid)
        return self.path / (f"{uid}.{check_uid(begun_by)}{SUFFIX}" if begun_by else f"{uid}{SUFFIX}")

    def clean(self) -> None:
        """Make the folder, remove what a crash left: temporary files, and what was to become a snapshot's top.

        PermanentError where a later hyperd has used it: nothing is changed then.
        """
        files.folder(self.path)
        poolmark.require_known(self.path, poolmark.read(self.path / poolmark.FILE), FORMAT)
        self.path.chmod(_MODE)
        try:
            self._number()
        except TemporaryError as err:
            _log.warning("%s", err.message)  # of a full disk: before there is anything of the format it is made
        for path in self.path.iterdir():
            mark = Mark.parse(path.name) if NAME.fullmatch(path.name) else None
            begun = mark is not None and mark.kind in (MarkKind.PREPARING, MarkKind.SETTLING)
            made = begun and os.path.lexists(self.path / f"{path.name.partition('@')[0]}{SUFFIX}")
            if files.is_temporary(path) or (begun and not made):
                files.unlink(path)
        self.origins.keep({_uid(name) for name in self._names()})

    def top(self, uid: str) -> Layer | None:
        """The volume's top, None if there is none; PermanentError when its file is damaged or is no file.

        TemporaryError when the host cannot read it now.
        """
        tree = self._of_volume(check_uid(uid))
        tops = [layer for layer in tree.tops() if layer.uid == uid]
        if len(tops) > 1:
            names = ", ".join(str(layer.path) for layer in tops)
            raise PermanentError(f"Volume {uid} has several files to go on with: {names}; move all but one away.")
        return tops[0] if tops else None

    def tree(self) -> Tree:
        """All layers and marks; a damaged one does not hide the others. TemporaryError where there is no list."""
        names = set(self._names())
        layers, marks = [], []
        for path in files.named(self.path, NAME):
            names.discard(path.name)
            mark = Mark.parse(path.name)
            if mark is not None:
                marks.append(mark)
            elif (layer := _look_if_there(path)) is not None:
                layers.append(layer)
        return Tree(layers, marks, (path for name in names if _may_be_layer(path := self.path / name)))

    def find_snapshot(self, uid: str) -> tuple[Layer, Mark] | None:
        """The layer that holds it, or is prepared for it, without a look at any other: there may be thousands."""
        for name in sorted(self._names()):
            mark = Mark.parse(name)
            if mark is None or mark.uid != uid or mark.kind not in (MarkKind.SNAPSHOT, MarkKind.PREPARING):
                continue
            layer = _look_if_there(self.path / f"{mark.layer}{SUFFIX}")
            if layer is not None:
                return layer, mark
        return None

    def is_pulled(self, uid: str) -> bool:
        """Whether a layer of the volume may not have all yet of what was pulled into it; by names alone."""
        marks = (Mark.parse(name) for name in self._names())
        return any(mark is not None and mark.kind is MarkKind.PULLING and _uid(mark.uid) == uid for mark in marks)

    def publish(self, made: Path, path: Path) -> Layer:
        """Give a finished file its name."""
        os.chmod(made, 0o600)
        crashpoints.reached(CrashPoint.DISK_BEFORE_RENAME)
        with files.full_disk_is_temporary(f"Volume {path.name.partition('.')[0]} cannot be made"):
            durable.publish(made, path)
        crashpoints.reached(CrashPoint.DISK_AFTER_FILE)
        return _look(path)

    def put(self, mark: Mark) -> None:
        """Durably; one that is there is fine."""
        self._number()
        with files.full_disk_is_temporary(f"The mark {mark.file} cannot be made"):
            (self.path / mark.file).touch(mode=0o600)
            durable.sync(self.path)

    def replace(self, mark: Mark, other: Mark) -> None:
        """The one in the place of the other, at once."""
        os.replace(self.path / mark.file, self.path / other.file)
        durable.sync(self.path)

    def drop(self, marks: Iterable[Mark]) -> None:
        """Durably; none is fine."""
        self.remove(self.path / mark.file for mark in marks)

    def remove(self, paths: Iterable[Path]) -> None:
        """Files, in this order, with what an unfinished creation left of them; none is fine."""
        for path in paths:
            files.temporary(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        if self.path.exists():
            durable.sync(self.path)

    def reap(self, held: Collection[str]) -> Tree:
        """Remove what is garbage and read by nobody; what is left. Nothing while some layer cannot be read.

        Layers whose name is in ``held`` are being read, and stay, as does what a pull may still be needed for.
        """
        while True:
            tree = self.tree()
            if tree.unread:
                self._tell(tree.unread)
                return tree
            gone = [
                layer
                for layer in tree.layers.values()
                if tree.marked(layer, MarkKind.GARBAGE)
                and not tree.children(layer)
                and layer.name not in held
                and not tree.marked(layer, MarkKind.SNAPSHOT, MarkKind.PREPARING, MarkKind.PULLING)
            ]
            stale = [
                mark
                for mark in tree.marks
                if (mark.kind in (MarkKind.GARBAGE, MarkKind.PULLING) and mark.layer not in tree.layers)
                or (mark.kind is MarkKind.PULLING and mark.uid not in tree.layers)
            ]
            if not gone and not stale:
                return tree
            self.remove(layer.path for layer in gone)
            self.drop(stale)
            self.forget(_uid(name) for name in (*(layer.name for layer in gone), *(mark.layer for mark in stale)))

    def note(self, uid: str, origin: Origin) -> None:
        """What a volume is about to be made of; one of which there are layers keeps the record that it has."""
        if not any(_uid(name) == uid and name.endswith(SUFFIX) for name in self._names()):
            self.origins.put(uid, origin)

    def forget(self, uids: Iterable[str]) -> None:
        """What volumes were made of, of those that have no file any more."""
        self.origins.keep({_uid(name) for name in self._names()}, uids)

    def space(self) -> tuple[int, int]:
        """Bytes of the file system: all, and what may still be written."""
        found = os.statvfs(files.folder(self.path))
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize

    def _names(self) -> Iterable[str]:
        """Of all layers and marks. TemporaryError where there is no list."""
        try:
            return [name for name in os.listdir(self.path) if NAME.fullmatch(name)]
        except FileNotFoundError:
            return ()
        except OSError as err:
            raise TemporaryError(f"The volumes in {self.path} cannot be listed: {err.strerror}.") from err

    def _number(self) -> None:
        """Have the folder say of which format it is."""
        if self._numbered:
            return
        path = self.path / poolmark.FILE
        found = poolmark.read(path)
        if found is None or found.format < FORMAT:
            mark = poolmark.new(FORMAT) if found is None else replace(found, format=FORMAT)
            with files.full_disk_is_temporary(f"{path} cannot be written"):
                poolmark.write(path, mark)
        self._numbered = True

    def _tell(self, unread: Sequence[Path]) -> None:
        """Once, as long as it stays so."""
        if self._told != unread:
            self._told = unread
            names = ", ".join(str(path) for path in unread)
            _log.warning("Nothing that was deleted is freed in %s, as these may need it: %s", self.path, names)

    def _of_volume(self, uid: str) -> Tree:
        """The layers and marks of one volume: what others read of it carries a mark."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return Tree((), ())
        mine = [name for name in names if name.startswith((f"{uid}.", f"{uid}@")) and NAME.fullmatch(name)]
        marks = [mark for name in mine if (mark := Mark.parse(name)) is not None]
        layers = [_whole(self.path / name) for name in mine if Mark.parse(name) is None]
        return Tree((layer for layer in layers if layer is not None), marks)


def _uid(name: str) -> str:
    """Of the volume whose layer or mark is called so."""
    return name.partition("@")[0].partition(".")[0]


def _whole(path: Path) -> Layer | None:
    try:
        found = _look(path)
    except FileNotFoundError:
        return None
    except OSError as err:
        type_ = PermanentError if err.errno in _ODD else TemporaryError
        raise type_(f"Volume file {path} cannot be read: {err.strerror}.") from err
    if not found.virtual_size:
        raise PermanentError(f"Volume file {path} is no qcow2 image; restore it from a backup or delete it.")
    return found


def _look_if_there(path: Path) -> Layer | None:
    try:
        return _look(path)
    except FileNotFoundError:
        return None
    except OSError:
        return Layer(path, 0, 0, None)


def _may_be_layer(path: Path) -> bool:
    """Of what was not looked at: whether that may be a layer, moved elsewhere or not to be read now."""
    try:
        type_ = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError:
        type_ = stat.S_IFREG
    away = stat.S_ISLNK(type_) and not os.path.exists(path)
    return Mark.parse(path.name) is None and (stat.S_ISREG(type_) or away)


def _look(path: Path) -> Layer:
    with files.open_regular(path) as file:
        allocated = os.fstat(file.fileno()).st_blocks * 512
        header = qcow2.read_own(file)
    if header is None:
        return Layer(path, 0, allocated, None)
    return Layer(path, header.virtual_size, allocated, header.backing)
