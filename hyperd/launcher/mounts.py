"""Where on this node a volume of a Pod is: what its launcher has mounted says so.

So no kind of volume has to be known, and not how kubelet names their folders.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from hyperd.errors import TemporaryError
from hyperd.launcher import sandbox

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def open_volume(pid: int, mounted: PurePosixPath) -> int:
    """A descriptor of the folder that the process ``pid`` has mounted at ``mounted``, as this process sees it.

    While it is open nobody can unmount the folder. Blocking. Raises TemporaryError.
    """
    try:
        with sandbox.held(pid):
            wanted = os.stat(f"/proc/{pid}/root{mounted}")
            for folder in _candidates(pid, mounted):
                try:
                    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except OSError:
                    continue  # something else is mounted over it
                if os.path.samestat(os.fstat(found), wanted):
                    return found
                os.close(found)
    except OSError as error:
        raise TemporaryError(f"A volume of the Pod is not there: {error.strerror or error}.") from error
    raise TemporaryError(
        "A volume of the Pod is in a folder of this node that hyperd does not see: mount it into hyperd's own Pod."
    )


def find_device(pid: int, path: PurePosixPath) -> Path:
    """The block device that the process ``pid`` has at ``path``, as this node's ``/dev`` names it.

    Blocking. Raises TemporaryError.
    """
    try:
        with sandbox.held(pid):
            number = os.stat(f"/proc/{pid}/root{path}").st_rdev
        told = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/uevent").read_text().splitlines()
        name = next(line.partition("=")[2] for line in told if line.startswith("DEVNAME="))
        device = Path("/dev", name)
        if os.stat(device).st_rdev != number:
            raise OSError(errno.ENODEV, "another device has its name", str(device))
    except (OSError, StopIteration) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "the kernel does not say its name"
        raise TemporaryError(f"A volume of the Pod is no block device of this node: {why}.") from error
    return device


def _candidates(pid: int, mounted: PurePosixPath) -> Iterator[Path]:
    """Where the same part of the same file system may be seen by this process, the most exact first."""
    theirs = [line for line in _mounts(str(pid)) if line[2] == mounted]
    if not theirs:
        raise OSError(errno.ENOENT, "nothing is mounted there", str(mounted))
    device, root, _ = theirs[-1]
    ours = [(of, point) for on, of, point in _mounts("self") if on == device and root.is_relative_to(of)]
    for of, point in sorted(ours, key=lambda pair: len(pair[0].parts), reverse=True):
        yield Path(point / root.relative_to(of))


def _mounts(process: str) -> Iterator[tuple[str, PurePosixPath, PurePosixPath]]:
    """Device, which part of its file system, and where."""
    for line in Path(f"/proc/{process}/mountinfo").read_text().splitlines():
        _, _, device, root, point, _ = line.split(" ", 5)
        yield device, PurePosixPath(_plain(root)), PurePosixPath(_plain(point))


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
