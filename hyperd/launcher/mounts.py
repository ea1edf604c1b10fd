"""Where on this node a volume of a Pod is: what its launcher has mounted says so.

So no kind of volume has to be known, and not how kubelet names their folders.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from hyperd.errors import TemporaryError
from hyperd.imagefile import beneath
from hyperd.launcher import sandbox

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def open_volume(pid: int, mounted: PurePosixPath) -> int:
    """A descriptor of the folder that the process ``pid`` has mounted at ``mounted``, as this process sees it.

    While it is open nobody can unmount the folder. Blocking. Raises TemporaryError.
    """
    try:
        with sandbox.held(pid):
            wanted = _stat(pid, mounted)
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


def find_device(pid: int, path: PurePosixPath, recorded: Path) -> Path:
    """The block device that the process ``pid`` has at ``path``, as this node's ``/dev`` names it.

    Who could make a device node in a Pod would have any device of the node: so it counts only as the one that
    kubelet has given to the Pod, which ``recorded`` leads to. Blocking. Raises TemporaryError.
    """
    try:
        with sandbox.held(pid):
            there, given = _stat(pid, path), os.stat(recorded)
        number = there.st_rdev
        if not (stat.S_ISBLK(there.st_mode) and stat.S_ISBLK(given.st_mode) and given.st_rdev == number):
            raise OSError(errno.ENODEV, "it is not the one that kubelet has given to the Pod", str(path))
        told = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/uevent").read_text().splitlines()
        name = next(line.partition("=")[2] for line in told if line.startswith("DEVNAME="))
        device = Path("/dev", name)
        if os.stat(device).st_rdev != number:
            raise OSError(errno.ENODEV, "another device has its name", str(device))
    except (OSError, StopIteration) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "the kernel does not say its name"
        raise TemporaryError(f"A volume of the Pod is no block device of this node: {why}.") from error
    return device


def device_record(kubelet_dir: Path, pod_uid: str, volume: str) -> Path:
    """What kubelet itself says of the device that the PersistentVolume ``volume`` is, in that Pod.

    Blocking. Raises TemporaryError.
    """
    kinds = kubelet_dir / "pods" / pod_uid / "volumeDevices"
    try:
        return next(found for kind in kinds.iterdir() if os.path.lexists(found := kind / volume))
    except (OSError, StopIteration):
        raise TemporaryError(f"kubelet has given the volume {volume} to no Pod {pod_uid} of this node.") from None


def _stat(pid: int, path: PurePosixPath) -> os.stat_result:
    """Of what the process has at that very place. A link leads nowhere: its image may have any."""
    found = beneath.open_beneath(Path(f"/proc/{pid}/root"), path.relative_to("/"), os.O_PATH)
    try:
        return os.fstat(found)
    finally:
        os.close(found)


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
