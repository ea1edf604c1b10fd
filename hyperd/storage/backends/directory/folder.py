"""The pool's folder: one file ``<uid>.qcow2`` a volume. Blocking calls.

What exists is what the folder shows: a volume is made under a temporary name and renamed when it is whole, so
after a crash there is either the volume or a temporary file that ``clean`` removes. Backing files are read from
the qcow2 headers, which only the daemon writes the backing field of, and never opened here.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from hyperd import crashpoints, durable
from hyperd.crashpoints import CrashPoint
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import files, qcow2
from hyperd.storage.interface import UID, check_uid

_FILE = re.compile(UID.pattern + r"\.qcow2")
_MODE = 0o711
"""QEMU's user may pass through to the files that libvirt gives it."""
_ODD = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO)
"""What opening says of what lies there in a volume's place; any other error is of the host, and may pass."""


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """One file; sizes in bytes, a damaged one has a virtual size of 0. ``backing`` is the image it overlays."""

    path: Path
    virtual_size: int
    allocated: int
    backing: Path | None

    @property
    def uid(self) -> str:
        return self.path.stem


class Folder:
    """The files at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, uid: str) -> Path:
        """Where the volume of ``uid`` is or will be."""
        return self.path / f"{check_uid(uid)}.qcow2"

    def clean(self) -> None:
        """Make the folder, remove temporary files that a crash left."""
        files.folder(self.path).chmod(_MODE)
        for path in self.path.iterdir():
            if files.is_temporary(path):
                files.unlink(path)

    def read(self, uid: str) -> VolumeFile | None:
        """The volume, None if there is none; PermanentError when its file is damaged or is no file.

        TemporaryError when the host cannot read it now.
        """
        path = self.file(uid)
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

    def list(self) -> list[VolumeFile]:
        """All volumes by uid; a damaged one does not hide the others."""
        found = (_look_if_there(path) for path in files.named(self.path, _FILE))
        return [volume for volume in found if volume is not None]

    def publish(self, made: Path, uid: str) -> VolumeFile:
        """Give a finished file its name."""
        os.chmod(made, 0o600)
        crashpoints.reached(CrashPoint.DISK_BEFORE_RENAME)
        with files.full_disk_is_temporary(f"Volume {uid} cannot be made"):
            durable.publish(made, self.file(uid))
        crashpoints.reached(CrashPoint.DISK_AFTER_FILE)
        return _look(self.file(uid))

    def remove(self, uid: str) -> None:
        """The volume, and what an unfinished creation left of it."""
        path = self.file(uid)
        files.temporary(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if self.path.exists():
            durable.sync(self.path)

    def space(self) -> tuple[int, int]:
        """Bytes of the file system: all, and what may still be written."""
        found = os.statvfs(files.folder(self.path))
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _look_if_there(path: Path) -> VolumeFile | None:
    try:
        return _look(path)
    except FileNotFoundError:
        return None
    except OSError:
        return VolumeFile(path, 0, 0, None)


def _look(path: Path) -> VolumeFile:
    with files.open_regular(path) as file:
        allocated = os.fstat(file.fileno()).st_blocks * 512
        header = qcow2.read_own(file)
    if header is None:
        return VolumeFile(path, 0, allocated, None)
    return VolumeFile(path, header.virtual_size, allocated, header.backing)
