"""A disk in the folder of a claim's volume, and how a guest's QEMU comes to it. Blocking calls.

The folder is its namespace's: other Pods may have it, and put anything there. So the disk is a raw file, of which
QEMU believes nothing, and is reached without following a link. QEMU's user may not pass through the folders of
kubelet, and needs nothing else of the volume: it gets the one file, bound to a name of ours.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hyperd import crashpoints
from hyperd.crashpoints import CrashPoint
from hyperd.errors import TemporaryError
from hyperd.imagefile import beneath, files

_LIBC = ctypes.CDLL(None, use_errno=True)
_MS_BIND: Final = 4096
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8


def file_of(uid: str) -> str:
    """The disk's own name: a volume that was another disk's before has that one's."""
    return f"{uid}.img"


def _partial(uid: str) -> str:
    return f".{file_of(uid)}.new"


def begin(folder: Path, uid: str) -> int:
    """A new file of the folder to write to, of which no earlier one is left. Raises OSError."""
    with _opened(folder) as there, suppress(FileNotFoundError):
        os.unlink(_partial(uid), dir_fd=there)
    return beneath.open_beneath(folder, _partial(uid), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)


def finish(folder: Path, made: int) -> None:
    """Have that file whole, whatever happens. It is no disk before that is noted. Raises OSError."""
    os.fsync(made)
    with _opened(folder) as there:
        os.fsync(there)
    if not os.fstat(made).st_nlink:
        raise OSError(errno.ESTALE, "another node makes the disk by now")
    crashpoints.reached(CrashPoint.DISK_AFTER_FILE)


def publish(folder: Path, uid: str) -> None:
    """Have what is noted to be whole as the disk. Raises OSError."""
    crashpoints.reached(CrashPoint.DISK_BEFORE_RENAME)
    with _opened(folder) as there:
        try:
            os.rename(_partial(uid), file_of(uid), src_dir_fd=there, dst_dir_fd=there)
        except FileNotFoundError:
            os.stat(file_of(uid), dir_fd=there, follow_symlinks=False)  # somebody was faster
        os.fsync(there)


def discard(folder: Path, uid: str, made: int) -> None:
    """Remove that file, as far as that can be done; another node's by now is left."""
    with suppress(OSError), _opened(folder) as there:
        if not os.path.samestat(os.fstat(made), os.stat(_partial(uid), dir_fd=there, follow_symlinks=False)):
            return
        os.unlink(_partial(uid), dir_fd=there)


def kept(folder: Path, uid: str) -> int | None:
    """Bytes of the disk that is there, though nobody has noted it; None without one. Raises OSError."""
    try:
        with _file(folder, uid) as found:
            return os.fstat(found).st_size
    except FileNotFoundError:
        return None


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield there
    finally:
        os.close(there)


@contextmanager
def disk(folder: Path, uid: str) -> Iterator[int]:
    """The disk, which is noted, opened to be written to. Raises OSError: EINVAL for what is no file."""
    try:
        named = beneath.open_beneath(folder, file_of(uid), os.O_PATH)
    except FileNotFoundError:
        # Who noted it was killed before it was published.
        publish(folder, uid)
    else:
        os.close(named)
    with _file(folder, uid) as found:
        yield found


@contextmanager
def _file(folder: Path, uid: str) -> Iterator[int]:
    # Before its type is known it is only named: to open a FIFO waits.
    named = beneath.open_beneath(folder, file_of(uid), os.O_PATH)
    try:
        if not stat.S_ISREG(os.fstat(named).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", file_of(uid))
        found = os.open(f"/proc/self/fd/{named}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(named)
    try:
        yield found
    finally:
        os.close(found)


def bind(fd: int, target: Path) -> None:
    """Have the file behind ``fd`` at ``target``, and nothing else that was there. Raises OSError."""
    files.folder(target.parent)
    if (found := shown(target)) is not None:
        if os.path.samestat(found, os.fstat(fd)):
            return
        unbind(target)
    with suppress(FileExistsError):
        # What is seen by whom the mount does not reach must be no disk: QEMU takes no FIFO.
        os.mkfifo(target, 0o600)
    _call(_LIBC.mount, f"/proc/self/fd/{fd}".encode(), os.fsencode(target), None, _MS_BIND, None)


def unbind(target: Path) -> None:
    """Take it from there; nothing to do is fine. Raises OSError."""
    while shown(target) is not None:
        try:
            _call(_LIBC.umount2, os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW)
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise
            break  # no mount, but a file that somebody has put there
    target.unlink(missing_ok=True)


def shown(target: Path) -> os.stat_result | None:
    """The file that is bound there; None where there is none. Raises OSError."""
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def clean(folder: Path) -> None:
    """Remove the names at which nothing is bound: what was goes with a reboot. OSError is let be."""
    with suppress(OSError):
        for name in folder.iterdir():
            if shown(name) is None:
                files.unlink(name)


def space(path: Path) -> int:
    """Bytes that may still be written to the volume of which ``path`` is the file."""
    return files.free_bytes(path)


def unusable(name: str, err: OSError) -> TemporaryError:
    """What is told of the claim ``name``."""
    return TemporaryError(f"The volume of the claim {name} cannot be used: {err.strerror or err}.")


def _call(function: object, *args: object) -> None:
    if function(*args):  # type: ignore[operator]  # a function of libc
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
