"""The pool's folder: raw files whose blocks are shared by the file system. Blocking calls.

``<uid>.raw`` is a volume, ``<volume>@<uid>.snapshot`` a snapshot and ``….preparing`` one that is not committed,
``.base-<digest>`` an image in the form of a volume, which later volumes of that image are cloned from. Each is
made under a temporary name and renamed when it is whole, and depends on no other, whatever it was cloned of. The
pool has a mark from its first volume on, which is looked for before anything is done there: without it the file
system is not mounted. An empty folder gets none, as it may be what is below the mount point.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from hyperd import crashpoints, durable
from hyperd.crashpoints import CrashPoint
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import files
from hyperd.storage import poolmark
from hyperd.storage.interface import UID, check_uid
from hyperd.storage.poolmark import PoolMark

_FICLONE = 0x40049409
"""``_IOW(0x94, 9, int)``, of ``linux/fs.h``."""
_FORMAT = 1
_MODE = 0o711
_UNABLE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS)
_BASE = ".base-"
_READING = ".reading-"
_NAME = re.compile(rf"{UID.pattern}(?:\.raw|@{UID.pattern}\.(?:snapshot|preparing))")


class Kind(StrEnum):
    """Of a snapshot's file."""

    SNAPSHOT = "snapshot"
    PREPARING = "preparing"


@dataclass(frozen=True, slots=True)
class File:
    """One file; sizes in bytes. Blocks that it shares with others count as its own."""

    path: Path
    size: int
    allocated: int

    @property
    def volume(self) -> str:
        """uid of the volume that it is, or is a snapshot of."""
        return self.path.stem.partition("@")[0]

    @property
    def snapshot(self) -> str:
        """uid of the snapshot that it is; empty for a volume."""
        return self.path.stem.partition("@")[2]

    @property
    def pending(self) -> bool:
        return self.path.suffix == f".{Kind.PREPARING}"

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """None where there is none; PermanentError for what is no file, TemporaryError where nobody can tell."""
        try:
            with files.open_regular(path) as file:
                found = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as err:
            type_ = PermanentError if err.errno in (errno.EINVAL, errno.EISDIR, errno.ELOOP) else TemporaryError
            raise type_(f"Volume file {path} cannot be read: {err.strerror}.") from err
        return cls(path, found.st_size, found.st_blocks * 512)


class Pool:
    """The files at ``path``, of the pool called ``name``."""

    def __init__(self, name: str, path: Path, *, note: Path) -> None:
        """``note`` is a file of the node that says by which mark the pool is known again."""
        self.name = name
        self.path = path
        self._note = note
        self._known = ""
        """The id of its mark."""
        self._able = False
        self._looking = threading.Lock()
        self.attached: set[str] = set()
        """Volumes that a guest may open any time, since this process began."""

    def require(self) -> None:
        """TemporaryError unless the file system is there and shares blocks: an administrator's to mend."""
        try:
            with self._looking:
                self._look()
        except OSError as err:
            unable = "its file system cannot share blocks (FICLONE); use XFS, made with reflink=1, or btrfs"
            raise self.refusal(unable if err.errno in _UNABLE else str(err.strerror)) from err

    def clean(self) -> None:
        """Remove what a crash left unfinished."""
        self.path.chmod(_MODE)
        for path in self.path.iterdir():
            if files.is_temporary(path) or path.name.startswith(_READING):
                files.unlink(path)

    def file(self, uid: str) -> Path:
        """Where the volume of ``uid`` is or will be."""
        return self.path / f"{check_uid(uid)}.raw"

    def snapshot_file(self, uid: str, snapshot: str, kind: Kind) -> Path:
        """Where the snapshot ``snapshot`` of the volume ``uid`` is or will be."""
        return self.path / f"{check_uid(uid)}@{check_uid(snapshot)}.{kind}"

    def base(self, image: Path) -> Path:
        """Where an image, a file of this node named by its content, is kept in the form of a volume."""
        return self.path / f"{_BASE}{image.stem}"

    def forget_bases(self, images: Path) -> None:
        """Remove the bases of which the image is no longer in the folder ``images``."""
        there = {path.stem for path in images.glob("*")} if images.is_dir() else set()
        for path in self.path.glob(f"{_BASE}*"):
            if path.name.removeprefix(_BASE) not in there and not files.is_temporary(path):
                files.unlink(path)

    def find(self, uid: str) -> File | None:
        """The volume; see ``File.of``."""
        return File.of(self.file(uid))

    def find_snapshot(self, snapshot: str) -> File | None:
        """Committed or not, without a look at any other. TemporaryError where there is no list."""
        check_uid(snapshot)
        try:
            names = sorted(name for name in os.listdir(self.path) if _NAME.fullmatch(name))
        except OSError as err:
            raise TemporaryError(f"The volumes in {self.path} cannot be listed: {err.strerror}.") from err
        for path in (self.path / name for name in names if name.partition("@")[2].rpartition(".")[0] == snapshot):
            if (found := self._look_at(path)) is not None:
                return found
        return None

    def volumes(self) -> Sequence[File]:
        """By uid; a damaged one does not hide the others."""
        return [found for found in self._all() if not found.snapshot]

    def snapshots(self) -> Sequence[File]:
        """By uid, also those that are not committed."""
        return sorted((found for found in self._all() if found.snapshot), key=lambda found: found.snapshot)

    def clone(self, source: Path, made: Path, size: int | None = None) -> None:
        """Have ``made``, a new file, share the blocks of ``source`` as it is now; grown to ``size`` bytes."""
        with files.open_regular(source) as origin, made.open("xb") as copy:
            fcntl.ioctl(copy.fileno(), _FICLONE, origin.fileno())
            if size is not None:
                os.truncate(copy.fileno(), size)

    def grow(self, path: Path, size: int) -> None:
        """Durably."""
        with files.full_disk_is_temporary(f"{path.name} cannot grow"):
            os.truncate(path, size)
            durable.sync(path)

    def publish(self, made: Path, path: Path) -> File:
        """Give a finished file its name."""
        os.chmod(made, 0o600)
        crashpoints.reached(CrashPoint.DISK_BEFORE_RENAME)
        with files.full_disk_is_temporary(f"{path.name} cannot be made"):
            with self._looking:
                mark = self._recognized()
                if not self._known:
                    self._remember(mark)
            durable.publish(made, path)
        crashpoints.reached(CrashPoint.DISK_AFTER_FILE)
        found = File.of(path)
        if found is None:
            raise TemporaryError(f"{path} was made, and is gone again.")
        return found

    def remove(self, *paths: Path) -> None:
        """Files, and what an unfinished creation left of them; none is fine."""
        for path in paths:
            files.temporary(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        if self.path.exists():
            durable.sync(self.path)

    def link(self, path: Path, number: int) -> Path:
        """A second name of a file, for a reader: whoever removes the first takes nothing from it."""
        link = self.path / f"{_READING}{os.getpid()}-{number}"
        link.unlink(missing_ok=True)
        os.link(path, link)
        return link

    def space(self) -> tuple[int, int]:
        """Bytes of the file system: all, and what may still be written."""
        found = os.statvfs(self.path)
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize

    def _look(self) -> None:
        mark = self._recognized()
        if not self._able:
            try:
                self._probe()
            except OSError as err:
                # One that has a mark shared blocks before; what is there is to be had on a full disk as well.
                if mark is None or err.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
            self._able = True
        if not self._known and (mark is not None or self._used()):
            self._remember(mark)

    def _used(self) -> bool:
        """Whether something was made there, by an earlier release: a later one marks it first."""
        return any(_NAME.fullmatch(name) or name.startswith(_BASE) for name in os.listdir(self.path))

    def _recognized(self) -> PoolMark | None:
        """The mark of the pool, None where it has never had one.

        TemporaryError where it is away: what is below its mount point is another file system's.
        """
        try:
            if not self._known and (noted := poolmark.read(self._note)) is not None:
                self._known = noted.id
            mark = poolmark.read(self.path / poolmark.FILE)
            poolmark.require_known(self.path, mark, _FORMAT)
        except (PermanentError, TemporaryError) as err:
            raise self.refusal(err.message.removesuffix(".")) from err
        if self._known and (mark is None or mark.id != self._known):
            what = "is not there" if mark is None else "is another pool's"
            raise self.refusal(
                f"its file {poolmark.FILE} {what}, so that another file system must be mounted there, or none; "
                f"mount it again, or remove {self._note} if that pool is gone for good"
            )
        return mark

    def _remember(self, mark: PoolMark | None) -> None:
        """Have the pool, once, a mark, and the node a note of it."""
        if mark is None:
            mark = poolmark.new(_FORMAT)
            poolmark.write(self.path / poolmark.FILE, mark)
        self._note.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
        poolmark.write(self._note, mark)
        self._known = mark.id

    def refusal(self, why: str) -> TemporaryError:
        """What is told where it cannot be used."""
        return TemporaryError(
            f"The pool {self.name} in {self.path} cannot be used: {why} (setting storage.pools).",
            key="ProvisioningFailed",
        )

    def _all(self) -> Sequence[File]:
        found = []
        for path in files.named(self.path, _NAME):
            if (file := self._look_at(path)) is not None:
                found.append(file)
        return found

    def _look_at(self, path: Path) -> File | None:
        """A damaged one has no size."""
        try:
            return File.of(path)
        except (PermanentError, TemporaryError):
            return File(path, 0, 0)

    def _probe(self) -> None:
        """Share a block. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True, mode=_MODE)
        first, second = (files.temporary(self.path / f"probe-{number}") for number in (1, 2))
        try:
            for path in (first, second):
                path.unlink(missing_ok=True)
            first.write_bytes(b"\1" * 4096)
            self.clone(first, second)
        finally:
            for path in (first, second):
                path.unlink(missing_ok=True)
