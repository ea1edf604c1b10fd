"""Files that are there whole or not at all, also after a power cut. Blocking; all of it raises OSError."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    StrPath = str | os.PathLike[str]


def write(path: StrPath, content: bytes, *, made: StrPath | None = None) -> None:
    """Put ``content`` at ``path``, for its owner alone; ``made`` is as for ``replacing``."""
    with replacing(path, made=made) as file:
        file.write(content)


@contextmanager
def replacing(path: StrPath, *, made: StrPath | None = None) -> Iterator[BinaryIO]:
    """A file of mode 0600 to be written, which takes the place of ``path`` unless the block fails.

    Until then it is at ``made``, in the same folder: a name that nobody else writes at, for what a crash leaves
    there is taken for our own. Without, it is a name of this process.
    """
    folder, name = os.path.split(path)
    temporary = made or os.path.join(folder, f".{name}.{os.getpid()}.new")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            yield file
        publish(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def publish(made: StrPath, path: StrPath) -> None:
    """Give the finished file ``made`` its name."""
    sync(made)
    os.replace(made, path)
    sync(os.path.dirname(path) or ".")


def sync(path: StrPath) -> None:
    """Have a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
