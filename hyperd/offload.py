"""Work on what clients send, in processes beside this one: it holds neither the loop nor the interpreter lock.

Each piece of work has a budget of CPU time and of memory, after which its process is ended and the client told.
The processes are few and shared by users in turn; they begin with the first large body and end when idle. One that
is killed takes nothing along: the work is done again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hyperd import errors
from hyperd.background import hear
from hyperd.errors import Cause, HyperdError, InternalError, RequestEntityTooLarge, ServiceUnavailable
from hyperd.shares import Shares

Options = dict[str, Any]
"""What a function is told beside bytes, and tells beside them: each its own, by name."""
Answer = tuple[Options, Sequence[bytes]]
"""What a function that runs in a process takes and gives: a few words, and what may be large."""

LARGE_BYTES: Final = 64 << 10
"""JSON from this size on is worked on beside the daemon; below, handing it over would cost more."""
LARGE_VALUES: Final = 1000
"""The same for values: each costs some ten microseconds of every step that looks at it, however short it is."""
_LARGE_TEXT_BYTES: Final = LARGE_BYTES // 8
MODULES: Final = (
    "hyperd.api.wire.parsing",
    "hyperd.store.grammar.heavy",
    "hyperd.admission.question",
    "hyperd.resources.conversion_review",
)
"""Where functions that may be run are."""

_BEFORE_VALUES: Final = b",[{"
_BEFORE_NODES: Final = b",:\n-?[{"

_log = logging.getLogger(__name__)

_COUNT = struct.Struct(">I")
_LENGTH = struct.Struct(">Q")
_MAX_PARTS: Final = 16
_MAX_PART_BYTES: Final = 256 << 20
_PIECE: Final = 1 << 20
_MAX_WAITING: Final = 32
"""Requests of one user; each waits with its body in memory."""
_KILLED: Final = "the process that read it was killed twice"


def is_large(*parts: bytes) -> bool:
    """Whether work on this JSON is too much for the event loop: by its bytes, or by its values."""
    size = sum(map(len, parts))
    if size <= 2 * LARGE_VALUES:  # no value is shorter than two bytes
        return False
    return size > LARGE_BYTES or sum(_count(part, _BEFORE_VALUES) for part in parts) > LARGE_VALUES


def is_large_text(text: bytes) -> bool:
    """The same for reading what is not JSON, which takes ten times its time."""
    if len(text) <= LARGE_VALUES:
        return False
    return len(text) > _LARGE_TEXT_BYTES or _count(text, _BEFORE_NODES) > LARGE_VALUES


def _count(text: bytes, which: bytes) -> int:
    return len(text) - len(text.translate(None, which))


class Offload:
    """The processes. ``run`` starts them as needed, ``close`` ends them."""

    def __init__(
        self,
        *,
        processes: int = 2,
        cpu_seconds: float = 10.0,
        wall_seconds: float = 60.0,
        memory_bytes: int = 512 << 20,
        idle_seconds: float = 30.0,
    ) -> None:
        """One piece of work may use ``cpu_seconds`` and ``memory_bytes``, and last ``wall_seconds``."""
        self._cpu = cpu_seconds
        self._wall = wall_seconds
        self._memory = memory_bytes
        self._idle_seconds = idle_seconds
        # One process is always left to the others.
        self._places: Shares[str] = Shares(
            "large bodies", processes, most=max(1, processes - 1), waiting=_MAX_WAITING
        )
        self._idle: list[_Process] = []
        self._work: set[asyncio.Task[object]] = set()
        self._closed = False

    async def run(self, user: str, function: str, options: Options, *parts: bytes) -> Answer:
        """What ``function`` (``module:name``) answers to ``options`` and ``parts``, in the turn of ``user``.

        Raises what it raises, RequestEntityTooLarge when it uses up its budget, TooManyRequests when too much of
        this user's waits already.
        """
        # In a task: the caller may have to wait for a turn of the loop, and holds no place meanwhile.
        return await asyncio.create_task(self._placed(user, function, options, parts))

    async def _placed(self, user: str, function: str, options: Options, parts: Sequence[bytes]) -> Answer:
        with await self._places.acquire(user):
            if self._closed:
                raise ServiceUnavailable("The daemon is stopping.")
            # A client that leaves does not free what works for it.
            task = asyncio.create_task(self._run(function, options, parts))
            self._work.add(task)
            task.add_done_callback(self._finished)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait([task])
                raise

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._work.discard(task)
        hear(task)  # who asked for it may have left

    async def _run(self, function: str, options: Options, parts: Sequence[bytes]) -> Answer:
        request = [json.dumps([function, options, self._cpu]).encode(), *parts]
        for _ in range(2):
            process = self._idle.pop() if self._idle else await _Process.start(self._memory)
            process.hold()
            try:
                async with asyncio.timeout(self._wall):
                    reply = await process.ask(request)
            except TimeoutError:  # an OSError as well
                await process.kill()
                raise ServiceUnavailable(
                    f"The request was not worked off within {self._wall:g} seconds: the host is busy.",
                    retry_after_seconds=5,
                ) from None
            except (OSError, EOFError):
                code = await process.kill()
            except BaseException:
                await process.kill()
                raise
            else:
                words = json.loads(reply[0])
                if words["stays"] and not self._closed:
                    process.rest(self._idle_seconds, self._idle)
                else:
                    await process.kill()
                if (error := words["error"]) is not None:
                    if error["type"] == InternalError.__name__:
                        _log.error("%s failed: %s", function, error["message"])
                    raise _error(error)
                return words["answer"], reply[1:]
            if code == -signal.SIGPROF:
                raise RequestEntityTooLarge(
                    f"the request is too large to work off: it takes more than {self._cpu:g} seconds of CPU time; "
                    "send less at once"
                )
            _log.warning("A process that worked on a request ended with status %d.", code)
            if code not in (-signal.SIGKILL, -signal.SIGTERM):
                break
        raise ServiceUnavailable(f"The request could not be worked off: {_KILLED}.", retry_after_seconds=5)

    async def close(self) -> None:
        """End all; work that is not done fails. Safe to call twice."""
        self._closed = True
        idle, self._idle = self._idle, []
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        for process in idle:
            process.hold()
            await process.kill()


@dataclass(frozen=True)
class Share:
    """The processes as one user has them."""

    processes: Offload
    user: str

    async def run(self, function: str, options: Options, *parts: bytes) -> Answer:
        """As ``Offload.run``."""
        return await self.processes.run(self.user, function, options, *parts)


class _Process:
    """One process, which does one thing at a time."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._ending: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, memory_bytes: int) -> _Process:
        # The thread starts it whoever is cancelled meanwhile, so that is waited for: nothing is left half begun.
        starting = asyncio.create_task(cls._begin(memory_bytes))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            if starting.exception() is None:
                await starting.result().kill()
            raise

    @classmethod
    async def _begin(cls, memory_bytes: int) -> _Process:
        try:
            ours, process = await asyncio.to_thread(_spawn, memory_bytes)
        except OSError as err:
            raise ServiceUnavailable(
                f"No process could be started to read the request: {err}.", retry_after_seconds=5
            ) from err
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_PIECE)
        return cls(process, reader, writer)

    async def ask(self, request: Sequence[bytes]) -> list[bytes]:
        """Raises OSError or EOFError when the process ends instead."""
        self._writer.write(_COUNT.pack(len(request)))
        for part in request:
            self._writer.write(_LENGTH.pack(len(part)))
            self._writer.write(part)
        await self._writer.drain()
        count = _COUNT.unpack(await self._reader.readexactly(_COUNT.size))[0]
        if count > _MAX_PARTS:
            raise EOFError
        return [await self._part() for _ in range(count)]

    async def _part(self) -> bytes:
        left = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))[0]
        if left > _MAX_PART_BYTES:
            raise EOFError
        pieces: list[bytes] = []
        while left:
            piece = await self._reader.read(min(left, _PIECE))
            if not piece:
                raise EOFError
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def rest(self, seconds: float, among: list[_Process]) -> None:
        """Wait among the idle ones, and end when nobody needs this one for so long."""
        among.append(self)
        loop = asyncio.get_running_loop()
        self._ending = loop.call_later(seconds, self._retire, among)

    def hold(self) -> None:
        """Do not end for being idle."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def _retire(self, among: list[_Process]) -> None:
        if self in among:
            among.remove(self)
            self._process.kill()
            self._writer.close()
            # It is dead, or as good as dead: this returns at once, but for a process that hangs in the kernel.
            asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    async def kill(self) -> int:
        """End it for certain; its status."""
        self._writer.close()
        # One that ends by itself says why.
        try:
            return await asyncio.shield(asyncio.to_thread(self._end))
        except asyncio.CancelledError:
            self._process.kill()
            raise

    def _end(self) -> int:
        try:
            return self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _spawn(memory_bytes: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A process, and this end of the channel to it. Raises OSError."""
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hyperd.offloaded", str(memory_bytes)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    return ours, process


def record(error: HyperdError) -> Options:
    """``error`` for the way from one process to another."""
    return {
        "type": type(error).__name__,
        "message": error.message,
        "causes": [[cause.field, cause.message, cause.reason] for cause in error.causes],
        "about": {name: getattr(error, name) for name in ("kind", "group", "name", "uid")},
    }


def _error(fields: Options) -> HyperdError:
    type_ = getattr(errors, fields["type"], InternalError)
    causes = [Cause(*cause) for cause in fields["causes"]]
    made: HyperdError = type_(fields["message"], causes=causes, **fields["about"])
    return made
