"""Letters in a picture: what a guest writes in its firmware's font is shown as text, which half blocks cannot be.

Firmware, boot menus, installers and Linux consoles draw with the font of the VGA BIOS, one cell of 8 by 16 pixels
a letter (and a ninth column on a real text screen). The font is read from the BIOS that QEMU brings; without one,
a picture stays a picture.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from typing import NamedTuple

from hyperd.client.rfb.framebuffer import PIXEL, Framebuffer

_PLACES = ("/usr/share/seabios/vgabios*.bin", "/usr/share/qemu/vgabios*.bin", "/usr/share/vgabios/*.bin")
_HEIGHT = 16
_WIDTH = 8
_FIRST = bytes(_HEIGHT) + bytes.fromhex("00007e81a58181bd9981817e00000000")
"""The first two letters, by which the font is found."""
_LOW = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
_TEXT_SCREEN = (720, 400)
_CURSOR_ROWS = 3
_MOST_UNKNOWN = 0.1
_FEWEST = 12
"""So many letters make a picture of any size text."""
_MOST_KEPT = 4096
_UNKNOWN = "▒"


class Cell(NamedTuple):
    """A letter and its two colours."""

    text: str
    front: bytes
    back: bytes


@dataclass(frozen=True)
class Page:
    """What is written, row by row."""

    rows: tuple[tuple[Cell, ...], ...]

    @property
    def columns(self) -> int:
        return len(self.rows[0])

    @property
    def last(self) -> int:
        """The last row with anything on it."""
        return max((y for y, row in enumerate(self.rows) if any(cell.text != " " for cell in row)), default=0)


def load() -> Letters | None:
    """The font of this host's VGA BIOS, if it has one."""
    for path in sorted(name for place in _PLACES for name in glob.glob(place)):
        try:
            with open(path, "rb") as file:
                data = file.read(1 << 20)
        except OSError:
            continue
        at = data.find(_FIRST)
        if 0 <= at <= len(data) - 256 * _HEIGHT:
            return Letters(data[at : at + 256 * _HEIGHT])
    return None


class Letters:
    """A font, and the pixels of the cells that it was found in."""

    def __init__(self, font: bytes) -> None:
        """``font`` has 16 bytes for each of 256 letters, a bit a pixel."""
        self._known: dict[bytes, str] = {}
        self._above: dict[bytes, str] = {}
        for code in (*range(32, 127), 0, *range(1, 32), *range(127, 256)):
            text = _LOW[code] if code < 32 else bytes((code,)).decode("cp437") if code not in (127, 255) else " "
            bits = font[code * _HEIGHT : (code + 1) * _HEIGHT]
            self._known.setdefault(bits, text)
            self._above.setdefault(bits[:-_CURSOR_ROWS], text)
        self._cells: dict[bytes, Cell | None] = {}

    def read(self, screen: Framebuffer) -> Page | None:
        """What is written on a screen; None for one that shows anything else."""
        real = (screen.width, screen.height) == _TEXT_SCREEN
        across = 9 if real else _WIDTH
        if screen.width % across or screen.height % _HEIGHT:
            return None
        rows, known, unknown = [], 0, 0
        for top in range(0, screen.height, _HEIGHT):
            cells = []
            for pixels in _cells(screen, top, across):
                cell = self._cell(pixels)
                known += cell is not None and cell.text != " "
                unknown += cell is None
                cells.append(cell or Cell(_UNKNOWN, pixels[:3], pixels[-PIXEL:-1]))
            rows.append(tuple(cells))
        if not real and (known < _FEWEST or unknown > _MOST_UNKNOWN * (known + unknown)):
            return None
        return Page(tuple(rows))

    def _cell(self, pixels: bytes) -> Cell | None:
        if pixels in self._cells:
            return self._cells[pixels]
        if len(self._cells) >= _MOST_KEPT:
            self._cells.clear()
        cell = self._cells[pixels] = self._recognized(pixels)
        return cell

    def _recognized(self, pixels: bytes) -> Cell | None:
        colours = [pixels[at : at + 3] for at in range(0, len(pixels), PIXEL)]
        both = sorted(set(colours), key=colours.count)
        if len(both) == 1:
            return Cell(" ", both[0], both[0])
        if len(both) != 2:
            return None
        for front, back in (both, both[::-1]):
            bits = bytes(
                sum((colours[row * _WIDTH + x] == front) << (_WIDTH - 1 - x) for x in range(_WIDTH))
                for row in range(_HEIGHT)
            )
            text = self._known.get(bits)
            if text is not None:
                return Cell(text, front, back)
            # Beneath the cursor: a bar on the last rows.
            if bits[-1] == 0xFF or bits[-2] == 0xFF:
                text = self._above.get(bits[:-_CURSOR_ROWS])
                if text is not None:
                    return Cell("_" if text == " " else text, front, back)
        return None


def _cells(screen: Framebuffer, top: int, across: int) -> list[bytes]:
    """The pixels of each cell of a row of letters."""
    stride = screen.width * PIXEL
    lines = [bytes(screen.pixels[(top + y) * stride : (top + y + 1) * stride]) for y in range(_HEIGHT)]
    step, width = across * PIXEL, _WIDTH * PIXEL
    return [b"".join([line[x : x + width] for line in lines]) for x in range(0, stride, step)]
