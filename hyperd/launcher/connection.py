"""hyperd's side of a launcher: connect through the Pod's volume, say what the guest does, hear that the Pod ends.

What the launcher says is a Pod's word: it may ask for the end of its own guest, and for nothing else.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from hyperd.errors import TemporaryError
from hyperd.imagefile import beneath
from hyperd.launcher import sandbox
from hyperd.launcher.sandbox import Sandbox

SOCKET: Final = "launcher.sock"
VOLUME: Final = "hyperd"
"""The Pod's emptyDir in which launcher and hyperd meet."""
_LINE_BYTES: Final = 256
_SAID_BYTES: Final = 4096
"""A launcher says two words in its life; what goes on is none, and must not keep the loop."""
_SEND_SECONDS: Final = 5.0


def volume_of(pod_uid: str) -> PurePosixPath:
    """Where kubelet keeps that volume, beneath its own folder."""
    return PurePosixPath("pods", pod_uid, "volumes", "kubernetes.io~empty-dir", VOLUME)


class Launcher:
    """A connection to one Pod's launcher, until it ends or is closed."""

    def __init__(self, connection: socket.socket, found: Sandbox, changed: Callable[[], None]) -> None:
        self.sandbox = found
        self.ending = False
        """The Pod is to end; what is in it has its grace period."""
        self.gone = False
        """The launcher is no more, or speaks with another."""
        self._takes_consoles = False
        self._connection = connection
        self._changed = changed
        self._sending = asyncio.Lock()
        self._hearing = asyncio.get_running_loop().create_task(self._hear())

    async def close(self) -> None:
        """Part from the launcher, which goes on."""
        self._hearing.cancel()
        await asyncio.gather(self._hearing, return_exceptions=True)
        self._connection.close()

    async def tell_running(self) -> None:
        """The guest runs: the Pod is Ready."""
        await self._say("running")

    async def tell_stopped(self) -> None:
        """The guest is off, and the Pod stays for its next start."""
        await self._say("stopped")

    async def tell_ended(self, code: int) -> None:
        """The guest is off for good: the Pod ends with ``code``."""
        await self._say(f"exit {code}")

    async def tell_console(self, said: bytes) -> None:
        """What the guest has said on its console, up to 64 KiB: for the Pod's log, as it is.

        A launcher of before that would take it for words of ours.
        """
        if self._takes_consoles:
            await self._say(f"console {len(said)}", said)

    async def _say(self, word: str, more: bytes = b"") -> None:
        """Raises TemporaryError where nobody listens any more."""
        loop = asyncio.get_running_loop()
        try:
            async with self._sending, asyncio.timeout(_SEND_SECONDS):
                await loop.sock_sendall(self._connection, f"{word}\n".encode() + more)
        except (OSError, TimeoutError) as error:
            with suppress(OSError):  # who does not listen is parted from, or each look would wait for it
                self._connection.shutdown(socket.SHUT_RDWR)
            raise TemporaryError(f"The Pod {self.sandbox.pod_uid} is no longer there: {error}.") from error

    async def _hear(self) -> None:
        loop, held, said = asyncio.get_running_loop(), b"", 0
        try:
            while said < _SAID_BYTES and (got := await loop.sock_recv(self._connection, _LINE_BYTES)):
                said += len(got)
                *lines, held = (held + got).split(b"\n")
                if b"launcher 2" in lines:
                    self._takes_consoles = True
                if b"term" in lines and not self.ending:
                    self.ending = True
                    self._changed()
        except OSError:
            pass
        self.gone = True
        self._changed()


async def connect(kubelet_dir: Path, pod_uid: str, changed: Callable[[], None]) -> Launcher:
    """Meet the launcher of a Pod of this node. ``changed`` is called when it says something, or goes.

    Raises TemporaryError while the Pod has none that answers.
    """
    connection, found = await asyncio.to_thread(_connect, kubelet_dir, pod_uid)
    return Launcher(connection, found, changed)


def _connect(kubelet_dir: Path, pod_uid: str) -> tuple[socket.socket, Sandbox]:
    try:
        entry = beneath.open_beneath(kubelet_dir, volume_of(pod_uid) / SOCKET, os.O_PATH)
    except OSError as error:
        raise TemporaryError(f"The Pod's launcher is not there yet: {error.strerror}.") from error
    try:
        if not stat.S_ISSOCK(os.fstat(entry).st_mode):
            raise TemporaryError("The Pod's launcher has no socket there, but something else: it is left alone.")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.setblocking(False)
            connection.connect(f"/proc/self/fd/{entry}")
            pid = sandbox.peer_of(connection)
            with sandbox.held(pid):
                return connection, sandbox.find(pod_uid, pid)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise TemporaryError(f"The Pod's launcher does not answer: {error}.") from error
            raise
    finally:
        os.close(entry)
