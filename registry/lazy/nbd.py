"""The server's side of NBD, as far as reading needs it: newstyle handshake, simple replies, many requests at once.

Who connects is a QEMU, which its guest may have taken over: what it may ask for is bounded, and nothing can be
changed or listed.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from registry.lazy.image import DamagedError

_HELLO: Final = struct.pack(">8sQH", b"NBDMAGIC", 0x49484156454F5054, 1 | 2)
"""Fixed newstyle, and no zeros after the handshake."""
_CLIENT_FLAGS: Final = struct.Struct(">I")
_OPTION: Final = struct.Struct(">QII")
_OPTION_REPLY: Final = struct.Struct(">QIII")
_REQUEST: Final = struct.Struct(">IHHQQI")
_REPLY: Final = struct.Struct(">IIQ")
_OPTION_MAGIC: Final = 0x49484156454F5054
_OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
_REQUEST_MAGIC: Final = 0x25609513
_REPLY_MAGIC: Final = 0x67446698
_EXPORT_NAME, _ABORT, _INFO, _GO = 1, 2, 6, 7
_ACK, _INFO_REPLY = 1, 3
_UNSUPPORTED, _INVALID, _UNKNOWN = (1 << 31) + 1, (1 << 31) + 3, (1 << 31) + 6
_ABOUT_EXPORT, _ABOUT_BLOCKS = 0, 3
_READ, _WRITE, _DISCONNECT = 0, 1, 2
_FLAGS: Final = 1 | 2 | 256
"""Has flags; read-only; several connections see the same."""
_EPERM, _EIO, _EINVAL = 1, 5, 22
_LONGEST_OPTION: Final = 8 << 10
_MOST_OPTIONS: Final = 64
_LONGEST_READ: Final = 32 << 20
_IN_FLIGHT_BYTES: Final = 64 << 20
"""Of one connection's reads; further ones wait."""
_IN_FLIGHT: Final = 64
_SECTOR: Final = 512
_HANDSHAKE_SECONDS: Final = 20.0


class Export(Protocol):
    """What is served. A QEMU is told of whole sectors, as it reads no others: what is beyond the end is zeros."""

    @property
    def size(self) -> int: ...

    async def read(self, offset: int, length: int) -> bytes: ...


Find = Callable[[str], AbstractAsyncContextManager[Export | None]]
"""An export by its name, until the block ends; None for one that there is not."""


class ProtocolError(Exception):
    """The client says what it may not."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, find: Find) -> None:
    """One connection, until it ends; it is closed then."""
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS) as handshake:
            writer.write(_HELLO)
            (flags,) = _CLIENT_FLAGS.unpack(await reader.readexactly(_CLIENT_FLAGS.size))
            if not flags & 1:
                raise ProtocolError("an old handshake")
            async with _agreed(reader, writer, find) as export:
                if export is not None:
                    handshake.reschedule(None)
                    await _Transmission(reader, writer, export).run()
    except (OSError, EOFError, TimeoutError, ProtocolError):
        return
    finally:
        writer.close()


@asynccontextmanager
async def _agreed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, find: Find
) -> AsyncIterator[Export | None]:
    """The export that the client wants; None where it wants none."""

    def reply(option: int, type_: int, data: bytes = b"") -> None:
        writer.write(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, type_, len(data)) + data)

    for _ in range(_MOST_OPTIONS):
        magic, option, length = _OPTION.unpack(await reader.readexactly(_OPTION.size))
        if magic != _OPTION_MAGIC or length > _LONGEST_OPTION:
            raise ProtocolError("no option")
        data = await reader.readexactly(length)
        if option == _ABORT:
            reply(option, _ACK)
            await writer.drain()
            break
        name = data if option == _EXPORT_NAME else _name_in(data) if option in (_INFO, _GO) else None
        if name is None:
            reply(option, _INVALID if option in (_INFO, _GO) else _UNSUPPORTED)
            await writer.drain()
            continue
        async with find(name.decode(errors="replace")) as export:
            if export is None and option == _EXPORT_NAME:
                break
            if export is None:
                reply(option, _UNKNOWN)
            elif option == _EXPORT_NAME:
                writer.write(struct.pack(">QH", _sectors(export), _FLAGS))
            else:
                reply(option, _INFO_REPLY, struct.pack(">HQH", _ABOUT_EXPORT, _sectors(export), _FLAGS))
                reply(option, _INFO_REPLY, struct.pack(">HIII", _ABOUT_BLOCKS, 1, 64 << 10, _LONGEST_READ))
                reply(option, _ACK)
            await writer.drain()
            if export is not None and option != _INFO:
                yield export
                return
    yield None


def _sectors(export: Export) -> int:
    return -(-export.size // _SECTOR) * _SECTOR


def _name_in(data: bytes) -> bytes | None:
    """The export that NBD_OPT_GO and NBD_OPT_INFO name; None where it is not to be understood."""
    if len(data) < 6:
        return None
    length = int(struct.unpack_from(">I", data)[0])
    return data[4 : 4 + length] if 4 + length + 2 <= len(data) else None


class _Transmission:
    """Requests, answered in the order in which they are done."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, export: Export) -> None:
        self._reader, self._writer, self._export = reader, writer, export
        self._sending = asyncio.Lock()
        self._room = asyncio.Condition()
        self._asked = 0
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            while True:
                request = _REQUEST.unpack(await self._reader.readexactly(_REQUEST.size))
                magic, _, type_, cookie, offset, length = request
                if magic != _REQUEST_MAGIC:
                    raise ProtocolError("no request")
                if type_ == _DISCONNECT:
                    return
                if type_ == _READ and 0 < length <= _LONGEST_READ and offset + length <= _sectors(self._export):
                    await self._take_room(length)
                    self._answer(self._read(cookie, offset, length))
                elif type_ == _WRITE:
                    raise ProtocolError("a write to what is read-only")
                else:
                    await self._send(cookie, _EINVAL if type_ == _READ else _EPERM)
        finally:
            for task in self._answering:
                task.cancel()
            await asyncio.gather(*self._answering, return_exceptions=True)

    async def _take_room(self, length: int) -> None:
        async with self._room:
            await self._room.wait_for(
                lambda: (
                    not self._asked
                    or (self._asked + length <= _IN_FLIGHT_BYTES and len(self._answering) < _IN_FLIGHT)
                )
            )
            self._asked += length

    def _answer(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _read(self, cookie: int, offset: int, length: int) -> None:
        try:
            try:
                there = max(0, min(length, self._export.size - offset))
                content = await self._export.read(offset, there) if there else b""
                if len(content) != there:  # sent short, the next reply would be taken for the rest of it
                    raise OSError(errno.EIO, "the disk reads less than the file has")
                content += bytes(length - there)
            except (DamagedError, OSError):
                await self._send(cookie, _EIO)
            else:
                await self._send(cookie, 0, content)
        except OSError:
            self._writer.close()  # the reader of requests then hears of it
        finally:
            async with self._room:
                self._asked -= length
                self._room.notify_all()

    async def _send(self, cookie: int, error: int, content: bytes = b"") -> None:
        async with self._sending:
            self._writer.write(_REPLY.pack(_REPLY_MAGIC, error, cookie))
            if content:
                self._writer.write(content)
            await self._writer.drain()
