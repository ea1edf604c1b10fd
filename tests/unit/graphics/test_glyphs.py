"""Letters in pictures: read where they are, with a font of the test's own."""

from __future__ import annotations

import random

from hyperd.client.rfb.framebuffer import Framebuffer
from tui.graphics.glyphs import Letters

FONT = bytes(16) + random.Random(1).randbytes(31 * 16) + bytes(16) + random.Random(2).randbytes(223 * 16)


def drawn(lines: list[str], width: int, height: int, across: int, front: bytes, back: bytes) -> Framebuffer:
    screen = Framebuffer(width, height)
    screen.put((0, 0, width, height), back * (width * height))
    for row, line in enumerate(lines):
        for column, char in enumerate(line):
            bits = FONT[ord(char) * 16 : ord(char) * 16 + 16]
            pixels = b"".join(front if bits[y] >> (7 - x) & 1 else back for y in range(16) for x in range(8))
            screen.put((column * across, row * 16, 8, 16), pixels)
    return screen


def test_a_text_screen_is_text() -> None:
    lines = ["GNU GRUB  version 2.06", "*Debian", " Advanced options"]
    page = Letters(FONT).read(drawn(lines, 720, 400, 9, b"\xaa\xaa\xaa\0", b"\0\0\0\0"))
    assert page is not None
    assert (page.columns, len(page.rows)) == (80, 25)
    assert ["".join(cell.text for cell in row).rstrip() for row in page.rows[:3]] == lines
    assert page.rows[1][0].front == b"\xaa\xaa\xaa"
    assert page.last == 2


def test_a_console_in_a_frame_buffer_is_text_and_a_picture_is_none() -> None:
    letters = Letters(FONT)
    page = letters.read(drawn(["Debian GNU/Linux 12 tty1"], 1024, 768, 8, b"\xff\xff\xff\0", b"\0\0\x80\0"))
    assert page is not None
    assert page.columns == 128
    picture = Framebuffer(640, 480)
    picture.pixels[:] = random.Random(3).randbytes(len(picture.pixels))
    assert letters.read(picture) is None
    assert letters.read(Framebuffer(641, 480)) is None


def test_what_stands_at_the_cursor_is_read() -> None:
    screen = drawn(["login: "], 720, 400, 9, b"\xaa\xaa\xaa\0", b"\0\0\0\0")
    screen.put((7 * 9, 14, 8, 2), b"\xaa\xaa\xaa\0" * 16)
    page = Letters(FONT).read(screen)
    assert page is not None
    assert "".join(cell.text for cell in page.rows[0]).rstrip() == "login: _"
