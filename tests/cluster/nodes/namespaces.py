"""Namespaces that a process holds: when it dies, all that was in them dies with it, and nothing is left to undo.

A room within another is in its pid namespace too, so that the end of the outer one, kill -9 of the test run
included, is the end of all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.cluster.controlplane.plane import PlaneError

_SECONDS = 20.0
_KINDS = ("--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup")
# A namespace inherits the mounts of the one it was made from, not what is mounted there later.
_UNSHARE = ("unshare", *_KINDS, "--fork", "--kill-child=KILL", "--propagation", "private", "--")


class Room:
    """Network, mount, pid, UTS, IPC and cgroup namespaces of their own, with ``init`` as first process.

    ``within`` is the room that holds this one; without one it ends with the thread that starts it.
    ``cgroups`` are folders that the first process, and so all in the room, belong to.
    """

    def __init__(
        self, init: Sequence[str], *, log: Path, within: Room | None = None, cgroups: Sequence[Path] = ()
    ) -> None:
        self._init = init
        self._log = log
        self._within = within
        self._cgroups = cgroups
        self._held: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def open(self) -> None:
        """Start the first process; returns when it has namespaces. Raises PlaneError."""
        argv = [*self._joining(), *_UNSHARE, *self._init]
        if self._within is None:
            argv = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        else:
            argv = [*self._within.entering("--pid"), *argv]
        with self._log.open("ab") as log:
            self._held = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self._await_first(1 if self._within is None else 2)

    def close(self) -> None:
        """End it as if its power were cut. Safe to call at any time."""
        if self._held is None:
            return
        if self._held.poll() is None and self.pid:
            _kill(self.pid)
        try:
            self._held.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._held.kill()
            self._held.wait()
        self._held, self.pid = None, 0

    @property
    def is_open(self) -> bool:
        return self._held is not None and self._held.poll() is None

    def entering(self, *kinds: str) -> list[str]:
        """The start of a command line that runs the rest inside; all namespaces unless ``kinds`` names some.

        With ``--pid`` the command is a child of what is started; without, it is that process itself.
        """
        if not self.pid:
            raise PlaneError("The node is powered off.")
        return [*self._joining(), "nsenter", "--target", str(self.pid), *(kinds or _KINDS), "--"]

    def run(self, *argv: str, kinds: Sequence[str] = (), stdin: str = "", rc: int | None = 0) -> str:
        """Both output streams of a command inside. Raises PlaneError when it does not end with ``rc``."""
        done = subprocess.run(
            [*self.entering(*kinds), *argv], input=stdin, capture_output=True, text=True, timeout=120, check=False
        )
        if rc is not None and done.returncode != rc:
            raise PlaneError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def _joining(self) -> list[str]:
        """Entering a cgroup namespace moves no process into its cgroup."""
        join = "".join(f"echo 0 >{folder}/cgroup.procs && " for folder in self._cgroups)
        return ["sh", "-c", f'{join}exec "$@"', "sh"] if join else []

    def _await_first(self, depth: int) -> int:
        """The pid, as it is seen from outside, of the first process, ``depth`` forks below what was started."""
        assert self._held is not None
        deadline = time.monotonic() + _SECONDS
        while True:
            pid = self._held.pid
            for _ in range(depth):
                pid = only_child(pid)
            if pid and _is_first(pid):
                return pid
            if self._held.poll() is not None or time.monotonic() > deadline:
                raise PlaneError(f"No namespaces can be made:\n{self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.005)


def only_child(pid: int) -> int:
    """The one process that ``pid`` forked; 0 where there is none."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return int(found[0]) if found else 0


def _is_first(pid: int) -> bool:
    """Whether it is the first process of its pid namespace."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return any(line.startswith("NSpid:") and line.endswith("\t1") for line in status.splitlines())


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
