"""Which QEMU a guest runs, and which one it would be started with now, by what is in the programs' files.

Versions do not tell: a distribution's security update leaves them as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from hyperd.hypervisor.facts.host import HostFacts
from hyperd.hypervisor.interface import Emulators
from hyperd.hypervisor.state import Emulator

_ROOTS: Final = (Path("/proc/1/root"), Path("/"))
"""A container that hyperd is in has the host's files beneath the host's first process."""
_DIGITS: Final = 40
_KEPT: Final = 64
_PROGRAM: Final = "qemu"


class ProgramFiles(Emulators):
    """Of QEMUs that run on this host. What a file holds is read once, until the file is another one."""

    def __init__(
        self,
        facts: Callable[[], Awaitable[HostFacts]],
        version: Callable[[], Awaitable[str]],
        *,
        processes: Path = Path("/proc"),
    ) -> None:
        """``version`` asks for that of the QEMU that would be started now."""
        self._facts = facts
        self._version = version
        self._processes = processes
        self._digests: dict[tuple[int, int, int, int], str] = {}
        self._known = Emulator("", "")

    async def present(self) -> Emulator | None:
        path = (await self._facts()).emulator
        digest = await asyncio.to_thread(self._of_host, path) if path else ""
        if not digest:
            return None
        if digest != self._known.digest:
            self._known = Emulator(await self._version(), digest)
        return self._known

    async def running(self, pid: int | None) -> str:
        return "" if pid is None else await asyncio.to_thread(self._of_process, pid)

    def _of_host(self, path: str) -> str:
        for root in _ROOTS:
            with suppress(OSError):
                return self._digest(root / path.lstrip("/"))
        return ""

    def _of_process(self, pid: int) -> str:
        program = self._processes / str(pid) / "exe"
        with suppress(OSError):
            # A program that stands in its place until it may begin is none.
            if Path(os.readlink(program)).name.startswith(_PROGRAM):
                return self._digest(program)  # also of a file that was removed since
        return ""

    def _digest(self, path: Path) -> str:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if key not in self._digests:
                while len(self._digests) >= _KEPT:
                    self._digests.pop(next(iter(self._digests)), None)
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
            return self._digests[key]
