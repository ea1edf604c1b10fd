"""Where the ``emulator`` program asks, in QEMU's place, whether what QEMU is to run in is ready.

The folder that libvirt is led to has the program, a link to QEMU, and the socket. QEMU's user may connect, and so
may a guest that broke out of its QEMU: who asks must be that very program, and for a domain that is being started.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from hyperd.errors import HyperdError, PermanentError
from hyperd.launcher import sandbox
from hyperd.launcher.build import EMULATOR

_log = logging.getLogger(__name__)

SOCKET: Final = "emulator.sock"
_QEMU: Final = "qemu"
_UID_BYTES: Final = 64
_ASK_SECONDS: Final = 5.0

Prepare = Callable[[str, int], Awaitable[None]]
"""Gets the domain's UUID and the process that will be its QEMU. Raises HyperdError: the start fails with that."""


class Waiting:
    """Answers those programs of one node."""

    def __init__(self, folder: Path, prepare: Prepare) -> None:
        self._folder = folder
        self._prepare = prepare
        self._server: asyncio.Server | None = None

    @property
    def emulator(self) -> Path:
        """What a domain names as its emulator."""
        return self._folder / EMULATOR

    async def start(self, program: Path, qemu: Path) -> None:
        """Put ``program`` and the link to ``qemu`` in place, and listen. Raises PermanentError."""
        try:
            await asyncio.to_thread(install, self._folder, program, qemu)
            await asyncio.to_thread((self._folder / SOCKET).unlink, missing_ok=True)
            self._server = await asyncio.start_unix_server(
                self._ask, path=str(self._folder / SOCKET), limit=_UID_BYTES
            )
            await asyncio.to_thread(os.chmod, self._folder / SOCKET, 0o666)
        except OSError as error:
            raise PermanentError(
                f"Machines cannot be run in Pods on this node: {error.filename or program}: {error.strerror}. "
                "Build the programs with `python -m hyperd.launcher.build` into kubernetes.programs_dir."
            ) from error

    async def renew(self, program: Path, qemu: Path) -> None:
        """Have libvirt look anew at what QEMU can do, if that is another one by now. Raises OSError."""
        await asyncio.to_thread(install, self._folder, program, qemu)

    async def close(self) -> None:
        """Answer nobody more; guests go on."""
        if self._server is not None:
            self._server.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                uid = (await reader.readline()).decode("ascii", "replace").strip()
            answer = await self._answer(uid, sandbox.peer_of(writer.get_extra_info("socket")))
            writer.write(f"{answer}\n".encode())
            await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            _log.warning("What asked in QEMU's place went away: %s", error or type(error).__name__)
        finally:
            writer.close()

    async def _answer(self, uid: str, pid: int) -> str:
        try:
            with sandbox.held(pid):
                if not await asyncio.to_thread(self._is_ours, pid):
                    return "Only the emulator program of this node's hyperd is answered."
                await self._prepare(uid, pid)
        except HyperdError as error:
            return error.message.replace("\n", " ")
        except OSError as error:
            return f"The guest's place cannot be made ready: {error}"
        return "ok"

    def _is_ours(self, pid: int) -> bool:
        return os.path.samestat(os.stat(f"/proc/{pid}/exe"), os.stat(self.emulator))


def _changed(qemu: Path) -> int:
    """When the host's QEMU was put there; a container sees the host's files through its first process."""
    for root in ("/", "/proc/1/root"):
        with suppress(OSError):
            return os.stat(f"{root}{qemu}").st_ctime_ns
    return time.time_ns()  # unknown: anew each time


def install(folder: Path, program: Path, qemu: Path) -> None:
    """Have ``folder`` hold the program and the link; whoever runs an earlier one goes on. Raises OSError.

    libvirt knows what an emulator can do by when its inode changed: the program is anew wherever QEMU is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    target, link, partial = folder / EMULATOR, folder / _QEMU, folder / f".{EMULATOR}"
    current = link.is_symlink() and os.readlink(link) == str(qemu) and target.exists()
    newest = max(os.stat(program).st_ctime_ns, _changed(qemu))
    if not current or target.stat().st_ctime_ns < newest:
        shutil.copyfile(program, partial)
        partial.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        partial.replace(target)
        partial.unlink(missing_ok=True)
        partial.symlink_to(qemu)
        partial.replace(link)
