"""What a Pod is on this node: its network namespace and its cgroups, found by the launcher that runs in it.

Whoever answers on a launcher's socket is in the Pod, and the kernel says which process that is; so no runtime has
to be asked, and it does not matter how kubelet names cgroups. A guest's QEMU gets a cgroup of its own beneath the
Pod's: the Pod's limits hold for it, its containers' do not, and it goes when the Pod goes.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from hyperd.errors import TemporaryError

GUEST_CGROUP: Final = "hyperd-guest"
_CREDENTIALS: Final = struct.Struct("3i")
_FILLED: Final = ("cpuset.cpus", "cpuset.mems")
"""What a new cgroup of version 1 has to be given before it takes a process."""
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Sandbox:
    """One Pod on this node. ``cgroups`` are its folders, one for each hierarchy that it is in."""

    pod_uid: str
    pid: int
    """The launcher's."""
    network: Path
    cgroups: tuple[Path, ...]


def peer_of(connection: socket.socket) -> int:
    """The process that listens where ``connection`` leads, by the kernel; 0 where it is none of this namespace."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(raw)[0]
    return pid


def find(pod_uid: str, pid: int) -> Sandbox:
    """The sandbox of the Pod in which ``pid`` is. Blocking. Raises TemporaryError where it is in no such Pod."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        cgroups = tuple(_of_pod(pod_uid, lines, dict(_hierarchies())))
    except OSError as error:
        raise TemporaryError(f"The Pod {pod_uid} is not found on this node: {error.strerror or error}.") from error
    if not cgroups:
        raise TemporaryError(f"The process {pid} is in no cgroup of the Pod {pod_uid}: it is left alone.")
    return Sandbox(pod_uid, pid, Path(f"/proc/{pid}/ns/net"), cgroups)


def admit(sandbox: Sandbox, pid: int) -> None:
    """Put the process into the guest's cgroup of the Pod, before it has anything. Blocking. Raises OSError."""
    for pod in sandbox.cgroups:
        folder = pod / GUEST_CGROUP
        folder.mkdir(exist_ok=True)
        for name in _FILLED:
            if (own := folder / name).exists() and not own.read_text().strip():
                own.write_text((pod / name).read_text())
        (folder / "cgroup.procs").write_text(str(pid))


def members(sandbox: Sandbox) -> frozenset[int]:
    """The processes of the guest's cgroup. Blocking; none where there is no such cgroup."""
    found: set[int] = set()
    for pod in sandbox.cgroups:
        try:
            found.update(map(int, (pod / GUEST_CGROUP / "cgroup.procs").read_text().split()))
        except FileNotFoundError:
            continue
    return frozenset(found)


def roots() -> list[Path]:
    """Where the hierarchies of cgroups are mounted. Blocking. Raises OSError."""
    return [point for _, (_, point) in _hierarchies()]


@contextmanager
def held(pid: int) -> Iterator[int]:
    """A descriptor of the process: its number is nobody else's meanwhile. Raises OSError where it is gone."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _of_pod(pod_uid: str, lines: list[str], mounts: dict[str, tuple[PurePosixPath, Path]]) -> Iterator[Path]:
    """The Pod's folder in each hierarchy: a process says in which cgroup it is, which is one of its container."""
    marks = (f"pod{pod_uid}", f"pod{pod_uid.replace('-', '_')}.slice")
    for line in lines:
        _, controllers, where = line.split(":", 2)
        parts = PurePosixPath(where).parts
        end = next((at for at, part in enumerate(parts, start=1) if part.endswith(marks)), 0)
        if end and (mount := mounts.get(controllers)) is not None:
            root, point = mount
            try:
                yield point / PurePosixPath(*parts[:end]).relative_to(root)
            except ValueError:
                raise OSError(errno.ENOENT, f"the cgroup {where} is outside of {point}") from None


def _hierarchies() -> Iterator[tuple[str, tuple[PurePosixPath, Path]]]:
    """By the controllers that ``/proc/PID/cgroup`` names (none: version 2), which cgroup is mounted where."""
    by_set = {
        frozenset(line.split(":", 2)[1].split(",")): line.split(":", 2)[1]
        for line in Path("/proc/self/cgroup").read_text().splitlines()
    }
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        own, _, other = line.partition(" - ")
        type_, _, options = other.split(" ", 2)
        fields = own.split(" ")
        root, point = PurePosixPath(_plain(fields[3])), Path(_plain(fields[4]))
        if type_ == "cgroup2":
            yield "", (root, point)
        elif type_ == "cgroup":
            named = frozenset(options.split(","))
            yield from ((text, (root, point)) for controllers, text in by_set.items() if controllers <= named)


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
