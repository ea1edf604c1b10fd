"""The node's watchdog, a program of its own that ends guests where nobody feeds it any more; see ``watchdog.c``.

It goes on while hyperd is stopped, killed or put anew: so it is in no cgroup of a Pod, hyperd's own least of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hyperd.errors import TemporaryError
from hyperd.launcher import sandbox
from hyperd.launcher.build import WATCHDOG

_SECONDS: Final = 5.0
_ANSWER_BYTES: Final = 1 << 20


class Watchdog:
    """Of one node. Every call raises TemporaryError where it does not answer, or refuses."""

    def __init__(self, programs: Path, run_dir: Path, log_dir: Path) -> None:
        self._programs = programs
        self._socket = run_dir / "watchdog.sock"
        self._log = log_dir / "watchdog.log"

    async def start(self) -> None:
        """Have one run that nothing of hyperd's takes along when it ends. Nothing to do is fine."""
        await asyncio.to_thread(self._start)

    async def guard(self, pid: int, uid: str) -> None:
        """Have the process, which is the guest's QEMU, end with the others."""
        await asyncio.to_thread(self._guard, pid, uid)

    async def release(self, uid: str) -> None:
        """The guest goes on whatever happens to the node's lease."""
        await self._ask(f"release {uid}")

    async def feed(self, until: float) -> None:
        """All go on until then, by the clock of ``clock.elapsed``."""
        await self._ask(f"feed {int(until * 1000)}")

    async def cap(self, until: float) -> None:
        """They do so no longer than until then, whatever an earlier daemon has said."""
        await self._ask(f"cap {int(until * 1000)}")

    async def guarded(self) -> frozenset[str]:
        """The uids of guests that live and are guarded, by one that goes on when hyperd's own Pod ends."""
        return frozenset((await asyncio.to_thread(self._asked, "list", apart=True)).split())

    async def _ask(self, line: str) -> str:
        return await asyncio.to_thread(self._asked, line)

    def _start(self) -> None:
        argv = [str(self._programs / WATCHDOG), str(self._socket), str(self._log)]
        try:
            self._socket.parent.mkdir(parents=True, exist_ok=True)
            self._log.parent.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=_SECONDS, check=False, start_new_session=True
            )
            if done.returncode:
                raise TemporaryError(f"The node's watchdog does not start: {done.stderr.strip()}.")
            with self._connected() as asked:
                _lift(sandbox.peer_of(asked))
        except (OSError, subprocess.TimeoutExpired) as error:
            with contextlib.suppress(TemporaryError):
                self._asked("end")
            raise TemporaryError(f"The node's watchdog does not start: {error}.") from error

    def _guard(self, pid: int, uid: str) -> None:
        try:
            with sandbox.held(pid) as process:
                if uid.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    raise TemporaryError(f"Process {pid} is none of the guest {uid}.")
                self._asked(f"guard {pid} {uid}")
                # While it lives its number was nobody else's.
                if not select.select([process], [], [], 0)[0]:
                    return
        except OSError as error:
            raise TemporaryError(f"Process {pid} of the guest {uid} is not there: {error.strerror}.") from error
        self._asked(f"release {uid}")
        raise TemporaryError(f"Process {pid} of the guest {uid} has ended.")

    def _asked(self, line: str, *, apart: bool = False) -> str:
        try:
            with self._connected() as asked:
                if apart:
                    _require_apart(sandbox.peer_of(asked))
                asked.sendall(f"{line}\n".encode())
                said = b""
                while not said.endswith(b"\n") and len(said) < _ANSWER_BYTES and (more := asked.recv(1 << 16)):
                    said += more
        except OSError as error:
            raise TemporaryError(f"The node's watchdog does not answer: {error.strerror or error}.") from error
        word, _, rest = said.decode("ascii", "replace").strip().partition(" ")
        if word != "ok":
            raise TemporaryError(f"The node's watchdog refuses `{line}`: {rest or 'it ended'}.")
        return rest

    def _connected(self) -> contextlib.closing[socket.socket]:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        made.settimeout(_SECONDS)
        try:
            made.connect(str(self._socket))
        except OSError:
            made.close()
            raise
        return contextlib.closing(made)


def _lift(pid: int) -> None:
    """Out of the cgroups of hyperd's own Pod, which end with that. Raises OSError."""
    for point in sandbox.roots():
        with contextlib.suppress(OSError):
            (point / "cgroup.procs").write_text(str(pid))
    _require_apart(pid)


def _require_apart(pid: int) -> None:
    """Raises OSError where it is in a cgroup of hyperd's own, or beneath one: it would end with that."""
    own, its = (dict(_cgroups(which)) for which in ("self", str(pid)))
    for hierarchy, path in own.items():
        found = its.get(hierarchy, path)
        if path != "/" and (found == path or found.startswith(f"{path}/")):
            raise OSError(errno.EBUSY, "it is in a cgroup of hyperd's own, and would end with that", found)


def _cgroups(process: str) -> Iterator[tuple[str, str]]:
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        hierarchy, _, rest = line.partition(":")
        yield hierarchy, rest.partition(":")[2]
