"""The node's watchdog, a program of its own that ends guests where nobody feeds it any more; see ``watchdog.c``.

It goes on while hyperd is stopped, killed or put anew: so it is in no cgroup of a Pod, hyperd's own least of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import subprocess
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
        await self._ask(f"guard {pid} {uid}")

    async def release(self, uid: str) -> None:
        """The guest goes on whatever happens to the node's lease."""
        await self._ask(f"release {uid}")

    async def feed(self, until: float) -> None:
        """All go on until then, by the clock of ``clock.elapsed``."""
        await self._ask(f"feed {int(until * 1000)}")

    async def guarded(self) -> frozenset[str]:
        """The uids of guests that live and are guarded."""
        return frozenset((await self._ask("list")).split())

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
            raise TemporaryError(f"The node's watchdog does not start: {error}.") from error

    def _asked(self, line: str) -> str:
        try:
            with self._connected() as asked:
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
    left = [line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if "/kubepods" in line]
    if left:
        raise OSError(errno.EBUSY, "it stays in the cgroup of hyperd's own Pod, and would end with that", left[0])
