"""A power cut between any two things that a process does to the files of a pool on XFS.

The work is done by a forked process. Before its ``n``-th such thing the file system is shut down without its log,
so that what was not synced is lost, and the process ends; then the file system is mounted anew.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

_GOINGDOWN = 0x8004587D
"""``XFS_IOC_GOINGDOWN``, of ``xfs_fs.h``."""
_WITHOUT_LOG = struct.pack("I", 2)
_CHANGES = ("os.rename", "os.remove", "os.link", "os.truncate", "os.chmod", "os.mkdir", "subprocess.Popen")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

Say = Callable[[str], None]
"""Tells, and outlives the cut, that somebody was promised something."""
Work = Callable[[Say], Awaitable[None]]


class Disk:
    """An XFS on a loop device, mounted at ``path``."""

    def __init__(self, image: Path, path: Path) -> None:
        self._image = image
        self.path = path

    def remount(self) -> None:
        """As another disk: while anybody has the one that was shut down in a namespace, it stays as it is."""
        subprocess.run(["umount", "--lazy", self.path], check=True)
        after = self._image.with_suffix(".after")
        subprocess.run(["cp", "--sparse=always", self._image, after], check=True)
        after.replace(self._image)
        subprocess.run(["mount", "-o", "loop,nouuid", self._image, self.path], check=True)

    def cut(self, work: Work, *, before: int) -> tuple[bool, list[str]]:
        """Do the work until the cut ``before`` that many changes and one, or after its end.

        Whether it came to its end, and what was told.
        """
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                _do(work, self.path, writer, before)
            finally:
                os._exit(70)
        os.close(writer)
        with os.fdopen(reader) as file:
            told = file.read().split()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the work failed; its traceback is above"
        self.remount()
        ended = bool(told) and told[-1] == "end"
        return ended, told[:-1] if ended else told


def _do(work: Work, folder: Path, writer: int, before: int) -> None:
    """In the forked process, which ends here."""
    root = os.open(folder, os.O_RDONLY)
    left = before

    def power_off() -> None:
        fcntl.ioctl(root, _GOINGDOWN, _WITHOUT_LOG)
        os._exit(0)

    def change() -> None:
        nonlocal left
        if left == 0:
            power_off()
        left -= 1

    def hook(event: str, args: tuple[object, ...]) -> None:
        opens = event == "open" and isinstance(args[2], int) and args[2] & _WRITING
        if (event in _CHANGES or opens) and os.fspath(folder) in str(args):
            change()

    def fsync(file: int, sync: Callable[[int], None] = os.fsync) -> None:
        change()
        sync(file)

    with os.fdopen(writer, "w") as out:
        sys.addaudithook(hook)
        os.fsync = os.fdatasync = fsync  # type: ignore[assignment]
        asyncio.run(_tell(work, lambda word: print(word, file=out, flush=True)))
        power_off()


async def _tell(work: Work, say: Say) -> None:
    await work(say)
    say("end")
