"""Serial consoles: the one connection QEMU gives, shared by all who look.

QEMU serves one client of a serial socket at a time, so the hub holds that connection, keeps the latest output
and hands it to every session. A session that reads slowly loses its oldest output; nothing grows. The connection
outlives libvirt's death and lasts until the guest's QEMU ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from hyperd.background import end_all, hear
from hyperd.errors import NotFound
from hyperd.hypervisor.console import log as console_log
from hyperd.hypervisor.console import screen as console_screen
from hyperd.hypervisor.console import socket as console_socket
from hyperd.hypervisor.console.screen import USUAL_SIZE, Size
from hyperd.settings import Settings

_log = logging.getLogger(__name__)

REPLAY_BYTES = 256 << 10
"""Past output kept for each console that was opened."""
_SESSION_BYTES = 1 << 20
_READ_BYTES = 64 << 10
_DRAWN_AT_ONCE = 4


class ConsoleSession:
    """One look at a console. ``read`` ends with b"" when the guest's QEMU is gone or the hub closes."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._pending = bytearray()
        self._news = asyncio.Event()
        self._ended = False
        self.dropped = 0
        """Bytes lost because they were read too slowly."""

    def begin_with(self, drawn: bytes) -> None:
        """Put ``drawn`` before what came since the session began."""
        self._pending[:0] = drawn
        if drawn:
            self._news.set()

    def feed(self, data: bytes) -> None:
        """Output for this session; called by its line."""
        self._pending += data
        excess = len(self._pending) - _SESSION_BYTES
        if excess > 0:
            del self._pending[:excess]
            self.dropped += excess
        self._news.set()

    def end(self) -> None:
        """No more output comes; called by its line."""
        self._ended = True
        self._news.set()

    async def read(self) -> bytes:
        """The next output, as much as there is; b"" at the end."""
        await self._news.wait()
        data = bytes(self._pending)
        self._pending.clear()
        if not self._ended:
            self._news.clear()
        return data

    async def write(self, data: bytes) -> None:
        """Type ``data``. Waits while the guest does not take input. Raises ConnectionError at the end."""
        if self._ended:
            raise ConnectionResetError("the console has ended")
        await self._line.write(data)

    def close(self) -> None:
        """Leave; the hub keeps the connection for the next session."""
        self._line.sessions.discard(self)
        self.end()


class _Line:
    """The connection to one guest's serial port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, past: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._past = bytearray(past)
        self.sessions: set[ConsoleSession] = set()
        self._task = asyncio.create_task(self._run(), name="console")
        self._task.add_done_callback(self._finish)

    @property
    def ended(self) -> bool:
        return self._task.done()

    @property
    def past(self) -> bytes:
        """What was said; where its beginning is lost, from the beginning of a line on."""
        if len(self._past) < REPLAY_BYTES:
            return bytes(self._past)
        return bytes(self._past[self._past.find(b"\n") + 1 :])

    def session(self) -> ConsoleSession:
        session = ConsoleSession(self)
        self.sessions.add(session)
        if self.ended:
            session.end()
        return session

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _run(self) -> None:
        with suppress(ConnectionError):  # QEMU was killed: the same end
            while data := await self._reader.read(_READ_BYTES):
                self._past += data
                del self._past[: max(0, len(self._past) - REPLAY_BYTES)]
                for session in self.sessions:
                    session.feed(data)

    def _finish(self, task: asyncio.Task[None]) -> None:
        """A callback, for a task that is cancelled before its first step runs no ``finally``."""
        if not task.cancelled() and (defect := task.exception()) is not None:
            _log.error("The connection to a console failed", exc_info=defect)
        for session in self.sessions:
            session.end()
        self._writer.close()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class ConsoleHub:
    """Consoles of the domains of one daemon, by uid. Connects at the first ``attach``, until the domain ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lines: dict[str, _Line] = {}
        self._connecting: dict[str, asyncio.Task[_Line]] = {}
        self._drawing = asyncio.Semaphore(_DRAWN_AT_ONCE)

    async def attach(self, uid: str, *, replay: int = 0, size: Size = USUAL_SIZE) -> ConsoleSession:
        """A session, which first reads the screen of ``size`` that past output left, in up to ``replay`` bytes.

        Raises ServiceUnavailable when the domain has no console to connect to, NotFound for what is no uid.
        """
        name = _checked(uid)
        line = self._lines.get(name)
        if line is None or line.ended:
            line = await self._connected(name)
        # What comes while the past is drawn follows it.
        session, past = line.session(), line.past if replay > 0 else b""
        try:
            # In a task: whoever asks may have to wait for a turn of the loop, and holds no place meanwhile.
            await asyncio.create_task(self._draw(session, past, size, replay))
        except BaseException:
            session.close()
            raise
        return session

    async def _draw(self, session: ConsoleSession, past: bytes, size: Size, replay: int) -> None:
        async with self._drawing:
            session.begin_with(await console_screen.redraw(past, size, replay))

    async def _connected(self, name: str) -> _Line:
        """One connection for all who ask for it meanwhile; it goes on when they leave."""
        connecting = self._connecting.get(name)
        if connecting is None:
            connecting = self._connecting[name] = asyncio.create_task(self._connect(name))
            connecting.add_done_callback(lambda task: self._done(name, task))
        return await asyncio.shield(connecting)

    def _done(self, name: str, connecting: asyncio.Task[_Line]) -> None:
        del self._connecting[name]
        hear(connecting)  # who asked for it may have left

    async def _connect(self, name: str) -> _Line:
        past = await asyncio.to_thread(console_log.tail_bytes, self._log(name), REPLAY_BYTES)
        connection = await asyncio.to_thread(console_socket.connect, self._settings.console_dir, name)
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        self._forget_ended()
        line = self._lines[name] = _Line(reader, writer, past)
        return line

    def _forget_ended(self) -> None:
        self._lines = {name: line for name, line in self._lines.items() if not line.ended}

    def log(self, uid: str, *, lines: int | None = None, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """What the console said, as ``console_log.read_log`` reads it; takes no session from anyone.

        Raises NotFound for what is no uid.
        """
        return console_log.read_log(self._log(_checked(uid)), lines=lines, follow=follow)

    def _log(self, name: str) -> Path:
        return self._settings.console_log_dir / f"{name}.log"

    async def close(self) -> None:
        """End all sessions and connections."""
        # None takes long: a socket of the host is connected to at once or not at all.
        await asyncio.gather(*self._connecting.values(), return_exceptions=True)
        lines, self._lines = self._lines, {}
        await end_all((f"the console of {name}", line.close) for name, line in lines.items())


def _checked(uid: str) -> str:
    """``uid`` as a file name."""
    try:
        return str(UUID(uid))
    except ValueError:
        raise NotFound(f"There is no console of {uid!r}: that is not the uid of a virtual machine.") from None
