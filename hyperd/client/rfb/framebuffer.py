"""The pixels of a screen: rows of four bytes a pixel, red, green, blue and one that means nothing."""

from __future__ import annotations

import struct
import zlib

PIXEL = 4
Rectangle = tuple[int, int, int, int]
"""Left, top, width, height, in pixels."""


class Framebuffer:
    """``width`` by ``height`` pixels; rectangles must lie within, which the protocol's reader sees to."""

    __slots__ = ("height", "pixels", "width")

    def __init__(self, width: int = 0, height: int = 0) -> None:
        self.width = width
        self.height = height
        self.pixels = bytearray(width * height * PIXEL)

    def put(self, rectangle: Rectangle, data: bytes) -> None:
        """Draw the rows of ``rectangle``."""
        left, top, width, height = rectangle
        if not width:
            return
        row, stride = width * PIXEL, self.width * PIXEL
        if row == stride:
            self.pixels[top * stride : (top + height) * stride] = data
            return
        for y in range(height):
            start = (top + y) * stride + left * PIXEL
            self.pixels[start : start + row] = data[y * row : (y + 1) * row]

    def copy(self, rectangle: Rectangle, left: int, top: int) -> None:
        """Draw what is at ``left`` and ``top`` in ``rectangle``, which may overlap it."""
        _, _, width, height = rectangle
        self.put(rectangle, self.cut((left, top, width, height)))

    def cut(self, rectangle: Rectangle) -> bytes:
        """The pixels of ``rectangle``, row by row."""
        left, top, width, height = rectangle
        if not width:
            return b""
        stride, view = self.width * PIXEL, memoryview(self.pixels)
        starts = ((top + y) * stride + left * PIXEL for y in range(height))
        return b"".join(view[start : start + width * PIXEL] for start in starts)

    def rgb(self) -> bytes:
        """All pixels in three bytes each."""
        out = bytearray(self.width * self.height * 3)
        for channel in range(3):
            out[channel::3] = self.pixels[channel::PIXEL]
        return bytes(out)


def png(screen: Framebuffer) -> bytes:
    """The screen as a PNG file."""
    rgb, stride = memoryview(screen.rgb()), screen.width * 3
    rows = b"".join(b"\0" + rgb[y * stride : (y + 1) * stride] for y in range(screen.height))
    head = struct.pack(">IIBBBBB", screen.width, screen.height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
