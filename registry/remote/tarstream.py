"""Reads a tar archive as it comes, front to back, in constant memory; nothing in it becomes a path here."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import FAILED

_BLOCK = tarfile.BLOCKSIZE
_MOST_EXTENDED = 1 << 20
"""Bytes of one extended header."""
_MOST_FIELDS = 4096
"""In one of them; each may be as short as five bytes."""
_MOST_ENTRIES = 1_000_000
_DIGITS = 19
"""Of a number, at most."""
_TURN = 256
"""Entries in one turn of the event loop."""
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_MORE_IN_HEADER, _MORE_IN_MAP = 482, 504
"""Where an old sparse file says that its map goes on in another block."""


@dataclass(frozen=True)
class Entry:
    """One member; ``name`` as it is written, ``size`` the bytes of its content in the archive."""

    name: str
    size: int
    file: bool
    folder: bool
    link: bool
    sparse: bool


class TarStream:
    """Members one after another; PermanentError for what is no archive, or ends in the middle."""

    def __init__(self, blocks: AsyncIterator[bytes]) -> None:
        self._blocks = blocks
        self._held = memoryview(b"")
        self._left = 0
        self._padding = 0
        self._entries = 0

    async def next(self) -> Entry | None:
        """The next member, after what is left of the one before; None at the end."""
        async for _ in self.content():
            pass
        await self._skip(self._padding)
        self._padding = 0
        name, size, sparse = "", None, False
        while True:
            self._entries += 1
            if self._entries > _MOST_ENTRIES:
                raise PermanentError(f"A layer of the image has more than {_MOST_ENTRIES} entries.", key=FAILED)
            if not self._entries % _TURN:
                await asyncio.sleep(0)
            block = await self._exactly(_BLOCK)
            if not block or not any(block):
                return None
            header = _header(block)
            if header.type in _PAX:
                fields = _fields(await self._extended(header.size))
                await asyncio.sleep(0)
                name = fields.get("path", name)
                size = _number(fields["size"]) if "size" in fields else size
                sparse = sparse or any(key.startswith("GNU.sparse.") for key in fields)
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                name = (await self._extended(header.size)).rstrip(b"\0").decode(errors="surrogateescape")
            elif header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                await self._extended(header.size)
            else:
                await self._skip_map(header, block)
                return self._entry(header, name, size, sparse=sparse)

    async def content(self) -> AsyncIterator[bytes]:
        """The content of the member, as far as it has not been read."""
        while self._left:
            piece = await self._piece(self._left)
            self._left -= len(piece)
            yield bytes(piece)

    async def drain(self) -> None:
        """Read to the end of the stream."""
        self._held, self._left, self._padding = memoryview(b""), 0, 0
        async for _ in self._blocks:
            pass

    def _entry(self, header: tarfile.TarInfo, name: str, size: int | None, *, sparse: bool) -> Entry:
        held = header.size if size is None else size
        # Only files have content; whatever size a folder or a link claims, none follows.
        holds = header.type in _FILES or header.type not in tarfile.SUPPORTED_TYPES
        self._left = held if holds or header.type == tarfile.GNUTYPE_SPARSE else 0
        self._padding = -self._left % _BLOCK
        return Entry(
            name or header.name,
            held,
            file=header.type in _FILES,
            folder=header.type == tarfile.DIRTYPE,
            link=header.type in _LINKS,
            sparse=sparse or header.type == tarfile.GNUTYPE_SPARSE,
        )

    async def _skip_map(self, header: tarfile.TarInfo, block: bytes) -> None:
        """What an old sparse file has between its header and its content."""
        more = header.type == tarfile.GNUTYPE_SPARSE and block[_MORE_IN_HEADER]
        while more:
            block = await self._exactly(_BLOCK)
            more = bool(block) and block[_MORE_IN_MAP]

    async def _extended(self, size: int) -> bytes:
        if size > _MOST_EXTENDED:
            raise PermanentError(f"A layer of the image has an extended header of {size} bytes.", key=FAILED)
        body = await self._exactly(size)
        await self._skip(-size % _BLOCK)
        return body

    async def _exactly(self, size: int) -> bytes:
        """``size`` bytes; nothing at a clean end."""
        if len(self._held) >= size:
            piece, self._held = self._held[:size], self._held[size:]
            return bytes(piece)
        taken = bytearray()
        while len(taken) < size:
            piece = await self._piece(size - len(taken), or_end=not taken)
            if not piece:
                return b""
            taken += piece
        return bytes(taken)

    async def _skip(self, size: int) -> None:
        while size:
            size -= len(await self._piece(size))

    async def _piece(self, most: int, *, or_end: bool = False) -> memoryview:
        """At most ``most`` bytes; nothing only at the end, where that may be."""
        while not self._held:
            block = await anext(self._blocks, None)
            if block is None:
                if or_end:
                    return self._held
                raise PermanentError("A layer of the image is a tar archive that is cut short.", key=FAILED)
            self._held = memoryview(block)
        piece, self._held = self._held[:most], self._held[most:]
        return piece


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as err:
        raise PermanentError("A layer of the image is no tar archive, or a damaged one.", key=FAILED) from err
    if header.size < 0:
        raise PermanentError("A layer of the image has an entry of negative size.", key=FAILED)
    return header


def _fields(body: bytes) -> dict[str, str]:
    """The records ``<length> <key>=<value>\\n`` of a pax header."""
    found: dict[str, str] = {}
    at, end = 0, len(body.rstrip(b"\0"))
    for _ in range(_MOST_FIELDS):
        if at >= end:
            return found
        blank = body.find(b" ", at, at + _DIGITS + 1)
        length = _number(body[at : max(at, blank)].decode("ascii", "replace"))
        key, equals, value = body[blank + 1 : at + length].partition(b"=")
        if not equals or not value.endswith(b"\n") or at + length > len(body):
            raise _damaged()
        found[key.decode(errors="replace")] = value[:-1].decode(errors="surrogateescape")
        at += length
    raise PermanentError(f"A layer of the image has an extended header of {_MOST_FIELDS} fields.", key=FAILED)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise _damaged()
    return int(text)


def _damaged() -> PermanentError:
    return PermanentError("A layer of the image has a damaged extended header.", key=FAILED)
