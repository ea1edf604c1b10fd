"""The client's side of NBD, as far as reading needs it: what is where, and what is zeros without being read.

One request at a time; replies are structured, so that holes come as such. The server is a program of ours, but
what it serves may be anybody's: no length of a reply is believed beyond what was asked for.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Sequence
from typing import Final

_MAGIC: Final = b"NBDMAGICIHAVEOPT"
_OPTION: Final = struct.Struct(">8sII")
_OPTION_REPLY: Final = struct.Struct(">QIII")
_REQUEST: Final = struct.Struct(">IHHQQI")
_CHUNK: Final = struct.Struct(">IHHQI")
_OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
_REQUEST_MAGIC: Final = 0x25609513
_CHUNK_MAGIC: Final = 0x668E33EF
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_GO, _STRUCTURED_REPLY, _SET_META_CONTEXT = 7, 8, 10
_ACK, _INFO, _META_CONTEXT, _ERROR_BIT = 1, 3, 4, 1 << 31
_INFO_EXPORT: Final = 0
_READ, _DISC, _BLOCK_STATUS = 0, 2, 7
_IN_ONE_PIECE: Final = 1 << 2
"""A flag of reads. Without it QEMU ends the connection where it cannot read, and does not say why."""
_DONE: Final = 1
_NONE, _OFFSET_DATA, _OFFSET_HOLE, _BLOCKS, _CHUNK_ERROR = 0, 1, 2, 5, 1 << 15
_ALLOCATION: Final = b"base:allocation"
_ZERO: Final = 2
_LONGEST_OPTION: Final = 64 << 10
_MOST_ASKED: Final = (1 << 32) - (1 << 20)
"""Bytes of one question where holes are; a length has 32 bits."""
_MOST_TOLD: Final = 2 << 20
"""Bytes of an answer beside what is read: QEMU tells of 2^17 extents at a time."""
STREAM_BYTES: Final = 1 << 20
"""What is read ahead of who asks."""

_WORTH_TELLING: Final = 64 << 10
"""Bytes of zeros: no smaller ones fill a cluster of the images that are made of it."""

Extent = tuple[int, bool]
"""So many bytes, and whether all of them are known to be zeros."""


class NbdError(Exception):
    """The server refuses, or says what it may not; ``str()`` is why, without a full stop."""


class NbdClient:
    """One connection, after ``start``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._cookie = 0
        self._one = asyncio.Lock()
        self.size = 0
        """Bytes of the export."""

    async def start(self) -> None:
        """Agree on the export without a name. Raises NbdError, and OSError or EOFError where nobody answers."""
        if await self._reader.readexactly(16) != _MAGIC:
            raise NbdError("it does not speak NBD")
        flags = struct.unpack(">H", await self._reader.readexactly(2))[0]
        if not flags & _FIXED_NEWSTYLE:
            raise NbdError("it speaks an NBD that is too old")
        self._writer.write(struct.pack(">I", _FIXED_NEWSTYLE | (flags & _NO_ZEROES)))
        await self._option(_STRUCTURED_REPLY, b"")
        wanted = struct.pack(">II", 0, 1) + struct.pack(">I", len(_ALLOCATION)) + _ALLOCATION
        if not any(type_ == _META_CONTEXT for type_, _ in await self._option(_SET_META_CONTEXT, wanted)):
            raise NbdError("it does not tell where holes are")
        for type_, data in await self._option(_GO, struct.pack(">IH", 0, 0)):
            if type_ == _INFO and len(data) == 12 and struct.unpack_from(">H", data)[0] == _INFO_EXPORT:
                self.size = struct.unpack_from(">Q", data, 2)[0]
                return
        raise NbdError("it does not tell the size")

    async def read(self, offset: int, length: int) -> bytearray:
        """``length`` bytes at ``offset``. Raises NbdError where they cannot be read."""
        found = bytearray(length)
        for type_, data in await self._ask(_READ, offset, length):
            if type_ == _OFFSET_DATA:
                start = struct.unpack_from(">Q", data)[0] - offset if len(data) > 8 else -1
                if not 0 <= start <= length - (len(data) - 8):
                    raise NbdError("it answers with what was not asked for")
                found[start : start + len(data) - 8] = memoryview(data)[8:]
        return found

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """What is zeros from ``offset`` on, for ``length`` bytes or fewer, but at least one.

        Zeros of less than ``_WORTH_TELLING`` among what is none are not told: they cost less read than asked for.
        """
        length = min(length, _MOST_ASKED)
        chunks = await self._ask(_BLOCK_STATUS, offset, length)
        told = await asyncio.to_thread(_joined, [data for type_, data in chunks if type_ == _BLOCKS], length)
        if not told:
            raise NbdError("it does not tell where holes are")
        return told

    def close(self) -> None:
        """Say that nothing more is wanted, and end the connection."""
        if not self._writer.is_closing():
            self._writer.write(_REQUEST.pack(_REQUEST_MAGIC, 0, _DISC, 0, 0, 0))
        self._writer.close()

    async def _option(self, option: int, data: bytes) -> Sequence[tuple[int, bytes]]:
        """All that is said to one option. Raises NbdError where it is refused."""
        self._writer.write(_OPTION.pack(_MAGIC[8:], option, len(data)) + data)
        found: list[tuple[int, bytes]] = []
        while True:
            magic, answered, type_, size = _OPTION_REPLY.unpack(await self._reader.readexactly(_OPTION_REPLY.size))
            if magic != _OPTION_REPLY_MAGIC or answered != option or size > _LONGEST_OPTION or len(found) > 8:
                raise NbdError("it does not speak NBD")
            said = await self._reader.readexactly(size)
            if type_ & _ERROR_BIT:
                raise NbdError(said.decode(errors="replace") or f"it refuses option {option}")
            if type_ == _ACK:
                return found
            found.append((type_, said))

    async def _ask(self, command: int, offset: int, length: int) -> Sequence[tuple[int, bytes]]:
        """The chunks of the answer, by type. Raises NbdError for an error among them."""
        async with self._one:
            self._cookie += 1
            flags = _IN_ONE_PIECE if command == _READ else 0
            self._writer.write(_REQUEST.pack(_REQUEST_MAGIC, flags, command, self._cookie, offset, length))
            found: list[tuple[int, bytes]] = []
            left, error = _MOST_TOLD + (length if command == _READ else 0), 0
            while True:
                head = await self._reader.readexactly(_CHUNK.size)
                magic, ends, type_, cookie, size = _CHUNK.unpack(head)
                left -= size + _CHUNK.size
                if magic != _CHUNK_MAGIC or cookie != self._cookie or left < 0:
                    raise NbdError("it does not speak NBD")
                data = await self._reader.readexactly(size)
                if type_ & _CHUNK_ERROR:
                    error = struct.unpack_from(">I", data)[0] if size >= 4 else -1
                elif type_ in (_OFFSET_DATA, _BLOCKS):
                    found.append((type_, data))
                elif type_ not in (_NONE, _OFFSET_HOLE):
                    raise NbdError("it does not speak NBD")
                if ends & _DONE:
                    break
        if error:
            raise NbdError(os.strerror(error) if error > 0 else "it is refused")
        return found


def _joined(answers: Sequence[bytes], length: int) -> list[Extent]:
    """What they tell of ``length`` bytes, alike neighbours as one: there may be 2^17 of 512 bytes each."""
    told: list[Extent] = []
    for data in answers:
        if len(data) % 8 != 4:
            continue
        for size, flags in struct.iter_unpack(">II", memoryview(data)[4:]):
            size, zero = min(size, length), bool(flags & _ZERO)
            length -= size
            if not size:
                continue
            if not zero and len(told) > 1 and told[-1][1] and told[-1][0] < _WORTH_TELLING:
                # Between two pieces of data. What stands at the begin may go on before it.
                size += told.pop()[0]
            if told and told[-1][1] == zero:
                size += told.pop()[0]
            told.append((size, zero))
    return told
