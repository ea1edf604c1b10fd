"""One process that outlives the daemon, the registry's or who serves images: found, watched, ended.

It is found again by its command line, which names our configuration file, and by its user: nothing needs to be
remembered, so a daemon killed between starting it and noting its pid still finds it. A pidfd pins it from then
on, so a reused pid is never mistaken for it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hyperd.errors import TemporaryError

_LOOK_SECONDS: Final = 0.05


class Process:
    """A running process, started here or adopted."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        """Raises ProcessLookupError when ``pid`` is gone."""
        self.pid = pid
        self._child = child
        self._pidfd = os.pidfd_open(pid)

    async def exited(self) -> None:
        """Return when it has ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        watched = os.dup(self._pidfd)
        loop.add_reader(watched, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(watched)
            os.close(watched)
        if self._child is not None:
            self._child.wait()

    async def until(self, answers: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Return once ``answers``. Raises TemporaryError when it ends before that, or takes longer."""
        ended = asyncio.create_task(self.exited(), name=f"end of process {self.pid}")
        try:
            async with asyncio.timeout(seconds):
                while not ended.done():
                    if await answers():
                        return
                    await asyncio.wait([ended], timeout=_LOOK_SECONDS)
        except TimeoutError:
            raise TemporaryError(f"it did not answer within {seconds:.0f} seconds") from None
        finally:
            ended.cancel()
        raise TemporaryError("it ended at once")

    async def end(self, *, grace_seconds: float = 10.0) -> None:
        """SIGTERM, then SIGKILL; returns when it has ended."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self.exited()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.exited()

    def runs(self, argv: Sequence[str]) -> bool:
        """Whether this is its command line; a blocking call. Raises FileNotFoundError, ProcessLookupError."""
        return _command_line(Path("/proc", str(self.pid))) == list(argv)

    def close(self) -> None:
        os.close(self._pidfd)

    def _signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return


def start(argv: Sequence[str], *, log: Path, environment: dict[str, str]) -> Process:
    """Start ``argv`` in a session of its own, so that it outlives the daemon; its files and socket are ours alone.

    Raises OSError.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            umask=0o077,
        )
    return Process(child.pid, child)


def bound_log(log: Path, size: int) -> None:
    """Move what ``log`` holds to ``<log>.1`` once it is more than ``size`` bytes. Raises OSError.

    Whoever appends to it goes on; what is said in that moment is lost.
    """
    if log.stat().st_size > size:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def find(argv: Sequence[str], *, any_program: bool = False) -> list[Process]:
    """Every process of our user with exactly this command line, or another program with these arguments."""
    first = 1 if any_program else 0
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with _may_vanish():
            if folder.stat().st_uid != os.geteuid() or _command_line(folder)[first:] != list(argv[first:]):
                continue
            process = Process(int(folder.name))
            if _command_line(folder)[first:] == list(argv[first:]):
                found.append(process)
            else:
                process.close()
    return found


def _command_line(folder: Path) -> list[str]:
    raw = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
    return [os.fsdecode(part) for part in raw]


@contextmanager
def _may_vanish() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ProcessLookupError):
        return
