"""Machines' screens: an honest RFB server that remembers what is pressed, and one that says what a test wants."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


class Picture:
    """One machine's screen; whoever looks sees what it shows, and every change of it."""

    def __init__(self, width: int = 320, height: int = 200) -> None:
        self.size = (width, height)
        self._pixels = bytes(width * height * 4)
        self.pressed: list[tuple[int, bool]] = []
        self.pointed: list[tuple[int, int, int]] = []
        self.hostile = b""
        """Said after the greeting, in the place of pictures."""
        self.greets = True
        self.lookers = 0
        self._changed = asyncio.Condition()
        self._version = 0

    async def show(self, image: Image.Image) -> None:
        """Show something else, of this size or another."""
        async with self._changed:
            self.size, self._pixels = image.size, image.convert("RGB").convert("RGBX").tobytes()
            self._version += 1
            self._changed.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lookers += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._greet(reader, writer)
            if self.hostile or not self.greets:
                writer.write(self.hostile)
                await reader.read()
            else:
                await self._hear(reader, writer)
        self.lookers -= 1
        writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.greets:
            return
        writer.write(b"RFB 003.008\n")
        assert await reader.readexactly(12) == b"RFB 003.008\n"
        writer.write(b"\x01\x01")
        assert await reader.readexactly(1) == b"\x01"
        writer.write(bytes(4))
        await reader.readexactly(1)
        writer.write(struct.pack(">HH16xI", *self.size, 4) + b"QEMU")

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packer, size = zlib.compressobj(), self.size
        asked: asyncio.Queue[bool] = asyncio.Queue()
        drawing = asyncio.create_task(self._draw(writer, packer, size, asked))
        try:
            while kind := (await reader.readexactly(1))[0:1]:
                if kind == b"\0":
                    await reader.readexactly(19)
                elif kind == b"\2":
                    await reader.readexactly(4 * struct.unpack(">xH", await reader.readexactly(3))[0])
                elif kind == b"\3":
                    asked.put_nowait(bool((await reader.readexactly(9))[0]))
                elif kind == b"\4":
                    down, keysym = struct.unpack(">BxxI", await reader.readexactly(7))
                    self.pressed.append((keysym, bool(down)))
                elif kind == b"\5":
                    buttons, x, y = struct.unpack(">BHH", await reader.readexactly(5))
                    self.pointed.append((x, y, buttons))
        finally:
            drawing.cancel()

    async def _draw(
        self,
        writer: asyncio.StreamWriter,
        packer: zlib._Compress,
        size: tuple[int, int],
        asked: asyncio.Queue[bool],
    ) -> None:
        seen = -1
        while True:
            changes_only = await asked.get()
            async with self._changed:
                while changes_only and seen == self._version:
                    await self._changed.wait()
            seen = self._version
            head = b""
            if self.size != size:
                size = self.size
                head = struct.pack(">HHHHi", 0, 0, *size, -223)
            data = packer.compress(self._pixels) + packer.flush(zlib.Z_SYNC_FLUSH)
            writer.write(struct.pack(">BxH", 0, 2 if head else 1) + head)
            writer.write(struct.pack(">HHHHiI", 0, 0, *size, 6, len(data)) + data)
            await writer.drain()


class Pictures:
    """The screens of all machines, as the hypervisor opens them."""

    def __init__(self) -> None:
        self.of: dict[str, Picture] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def open_graphics(self, uid: str) -> socket.socket:
        picture = self.of.setdefault(uid, Picture())
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        task = asyncio.create_task(picture.serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return theirs

    async def close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
