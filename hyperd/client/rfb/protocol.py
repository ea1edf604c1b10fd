"""RFB 3.8 without a network: bytes go in by ``feed``, what is to be sent comes out of ``take_out``.

Nothing is believed of the server, which a guest that broke out of its emulator may be: sizes, lengths and
rectangles are judged before anything is allocated for them, what is decompressed has the size that its rectangle
says, and a server that draws much more than it was asked for ends its session. None of its texts is kept but the
reason of a refusal, cut short. Kept libraries (asyncvnc, vncdotool) allocate what the server says.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Generator

from hyperd.client import sanitize
from hyperd.client.rfb.framebuffer import PIXEL, Framebuffer, Rectangle
from hyperd.errors import ServiceUnavailable

MOST_SIDE = 5120
MOST_PIXELS = 3840 * 2160
_BUDGET = 8 * MOST_PIXELS
"""So many pixels may be drawn between two requests, each update's first screen among them."""
_RECTANGLE_COST = 4096
"""What one takes to read, in pixels: a screen needs hundreds of them, not tens of thousands."""
_ROW_COST = 256
"""What one row of it takes, likewise, however narrow: stripes over half of the largest screen are let through."""
_LONGEST_TEXT = 256 << 10
_LONGEST_REASON = 4096
_LONGEST_NAME = 4096
_SKIPPED = 16 << 10
_WAITING_OUT = 64 << 10

_VERSION = re.compile(rb"RFB 003\.(\d{3})\n")
_NO_PASSWORD = 1
_RAW, _COPY, _ZLIB, _DESKTOP_SIZE, _LEAST_COMPRESSION = 0, 1, 6, -223, -255
_ENCODINGS = (_ZLIB, _COPY, _RAW, _DESKTOP_SIZE, _LEAST_COMPRESSION)
_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 0, 8, 16)
"""Red, green, blue and nothing, a byte each."""

Reader = Generator[int, bytes, None]
"""Asks for so many bytes, and is given them."""


class RfbError(ServiceUnavailable):
    """The screen cannot be shown; the message says why, without a control character of the server's."""


class Rfb:
    """One connection to a screen that asks for no password.

    Attributes:
        screen: What it looks like; of no size until the server has said one.
        drawn: Whole updates that have come.
        bells: How often the guest rang.
    """

    def __init__(self) -> None:
        self.screen = Framebuffer()
        self.drawn = 0
        self.bells = 0
        self._changed: list[Rectangle] = []
        self._resized = False
        self._asked = False
        self._budget = _BUDGET
        self._inflate = zlib.decompressobj()
        self._out = bytearray()
        self._buffer = bytearray()
        self._reader = self._session()
        self._wanted = next(self._reader)

    def feed(self, data: bytes) -> None:
        """What the server sent. Raises RfbError, after which nothing more may be fed."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= self._wanted:
            piece = bytes(memoryview(self._buffer)[at : at + self._wanted])
            at += self._wanted
            self._wanted = self._reader.send(piece)
        del self._buffer[:at]

    def take_out(self) -> bytes:
        """What is to be sent now."""
        taken = bytes(self._out)
        self._out.clear()
        return taken

    def take_changes(self) -> tuple[bool, list[Rectangle]]:
        """Whether the size changed since the last call, and what was drawn."""
        resized, changed = self._resized, self._changed
        self._resized, self._changed = False, []
        return resized, changed

    @property
    def ready(self) -> bool:
        """Whether the screen has a size, so that keys are heard."""
        return self.screen.width > 0

    def ask(self, *, all_of_it: bool = False) -> None:
        """Ask for what changes next, or for the whole screen. One question at a time is open."""
        if not self.ready or (self._asked and not all_of_it):
            return
        self._asked, self._budget = True, _BUDGET
        size = (self.screen.width, self.screen.height)
        self._send(struct.pack(">BBHHHH", 3, 0 if all_of_it else 1, 0, 0, *size))

    def key(self, keysym: int, *, down: bool) -> None:
        """Press or release a key, by its X keysym."""
        if self.ready:
            self._send(struct.pack(">BBxxI", 4, down, keysym))

    def press(self, keysyms: tuple[int, ...]) -> None:
        """Press keys one after the other, and release them the other way round."""
        for keysym in keysyms:
            self.key(keysym, down=True)
        for keysym in reversed(keysyms):
            self.key(keysym, down=False)

    def point(self, x: int, y: int, buttons: int) -> None:
        """Move the pointer; ``buttons`` is a mask (1 left, 2 middle, 4 right, 8 and 16 the wheel)."""
        if self.ready:
            x, y = min(max(0, x), self.screen.width - 1), min(max(0, y), self.screen.height - 1)
            self._send(struct.pack(">BBHH", 5, buttons, x, y))

    def _send(self, data: bytes) -> None:
        # A server that reads nothing is not typed to for ever.
        if len(self._out) + len(data) <= _WAITING_OUT:
            self._out += data

    def _session(self) -> Reader:
        greeting = yield 12
        version = _VERSION.fullmatch(greeting)
        if version is None or int(version[1]) < 8:
            raise RfbError(f"The screen speaks no RFB 3.8: {sanitize.line(greeting.decode('latin-1'))!r}.")
        self._send(b"RFB 003.008\n")
        count = (yield 1)[0]
        if not count:
            raise RfbError(f"The screen refuses: {(yield from self._reason())}.")
        if _NO_PASSWORD not in (yield count):
            raise RfbError("The screen asks for a password, which hyperd's screens never do.")
        self._send(bytes((_NO_PASSWORD,)))
        if int.from_bytes((yield 4), "big"):
            raise RfbError(f"The screen refuses: {(yield from self._reason())}.")
        self._send(b"\x01")  # shared: whoever else looks is not thrown out by QEMU
        width, height = struct.unpack(">HH", (yield 20)[:4])
        name = int.from_bytes((yield 4), "big")
        if name > _LONGEST_NAME:
            raise RfbError(f"The screen's name has {name} bytes.")
        yield from self._skip(name)
        self._resize(width, height)
        self._send(b"\0\0\0\0" + _FORMAT)
        self._send(struct.pack(f">BxH{len(_ENCODINGS)}i", 2, len(_ENCODINGS), *_ENCODINGS))
        self.ask(all_of_it=True)
        while True:
            yield from self._message((yield 1)[0])

    def _reason(self) -> Generator[int, bytes, str]:
        length = int.from_bytes((yield 4), "big")
        if length > _LONGEST_REASON:
            raise RfbError(f"The screen refuses, with a reason of {length} bytes.")
        return sanitize.line((yield length).decode("utf-8", "replace"))[:200]

    def _skip(self, length: int) -> Reader:
        while length > 0:
            length -= len((yield min(length, _SKIPPED)))

    def _message(self, kind: int) -> Reader:
        if kind == 0:
            count = int.from_bytes((yield 3)[1:], "big")
            for _ in range(count):
                yield from self._rectangle()
            self.drawn += 1
            self._asked = False
        elif kind == 1:
            count = int.from_bytes((yield 5)[3:], "big")
            yield from self._skip(count * 6)
        elif kind == 2:
            self.bells += 1
        elif kind == 3:
            length = int.from_bytes((yield 7)[3:], "big", signed=True)
            if abs(length) > _LONGEST_TEXT:
                raise RfbError(f"The screen sends a clipboard of {abs(length)} bytes.")
            yield from self._skip(abs(length))
        else:
            raise RfbError(f"The screen sends messages of the unknown kind {kind}.")

    def _rectangle(self) -> Reader:
        left, top, width, height, encoding = struct.unpack(">HHHHi", (yield 12))
        self._spend(max(_RECTANGLE_COST, width * height, height * _ROW_COST))
        if encoding == _DESKTOP_SIZE:
            self._resize(width, height)
            return
        rectangle = self._within(left, top, width, height)
        size = width * height * PIXEL
        if encoding == _RAW:
            self.screen.put(rectangle, (yield size))
        elif encoding == _COPY:
            x, y = struct.unpack(">HH", (yield 4))
            self._within(x, y, width, height)
            self.screen.copy(rectangle, x, y)
        elif encoding == _ZLIB:
            length = int.from_bytes((yield 4), "big")
            if length > size + (size >> 3) + 1024:
                raise RfbError(f"The screen packs {size} bytes into {length}.")
            self.screen.put(rectangle, self._unpack((yield length), size))
        else:
            raise RfbError(f"The screen draws by the encoding {encoding}, which nobody asked for.")
        if width and height:
            self._changed.append(rectangle)
            if len(self._changed) > 1024:
                self._changed = [(0, 0, self.screen.width, self.screen.height)]

    def _within(self, left: int, top: int, width: int, height: int) -> Rectangle:
        if left + width > self.screen.width or top + height > self.screen.height:
            raise RfbError(
                f"The screen of {self.screen.width}x{self.screen.height} draws beyond itself, "
                f"at {left},{top} to {left + width},{top + height}."
            )
        return left, top, width, height

    def _unpack(self, data: bytes, size: int) -> bytes:
        try:
            # One more than there may be, so that what ends a block is read as well.
            out = self._inflate.decompress(data, size + 1)
        except zlib.error as err:
            raise RfbError("The screen sends what cannot be unpacked.") from err
        if len(out) != size or self._inflate.unconsumed_tail or self._inflate.unused_data:
            raise RfbError(f"The screen's {len(data)} packed bytes are not the {size} of their rectangle.")
        return out

    def _spend(self, pixels: int) -> None:
        self._budget -= pixels
        if self._budget < 0:
            raise RfbError("The screen draws far more than it was asked for.")

    def _resize(self, width: int, height: int) -> None:
        if not width or not height or width > MOST_SIDE or height > MOST_SIDE or width * height > MOST_PIXELS:
            raise RfbError(f"The screen says that it has {width}x{height} pixels, which are too many or none.")
        if (width, height) != (self.screen.width, self.screen.height):
            self.screen = Framebuffer(width, height)
            self._resized, self._changed = True, []
