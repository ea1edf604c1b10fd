"""Pictures in any terminal: each cell is an upper half block, whose two colours are two pixels."""

from __future__ import annotations

from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from hyperd.client.rfb.framebuffer import Framebuffer
from tui.graphics.fit import Fit
from tui.graphics.glyphs import Cell
from tui.graphics.picture import scaled

_BLOCK = "▀"
_FINE = 0xF8
"""Colours closer than this are the same: fewer changes, and fewer bytes for them."""
_MOST_STYLES = 8192

_styles: dict[bytes, Style] = {}


def rows(screen: Framebuffer, fit: Fit) -> list[bytes]:
    """The picture's rows of cells, six bytes a cell: the upper pixel's colour and the lower one's."""
    small = scaled(screen, fit.columns, 2 * fit.rows).tobytes()
    small = small.translate(_ROUNDED)
    stride = fit.columns * 3
    found = []
    for y in range(fit.rows):
        upper, lower = small[2 * y * stride : (2 * y + 1) * stride], small[(2 * y + 1) * stride :][:stride]
        row = bytearray(2 * stride)
        for channel in range(3):
            row[channel::6], row[channel + 3 :: 6] = upper[channel::3], lower[channel::3]
        found.append(bytes(row))
    return found


def segments(row: bytes) -> list[Segment]:
    """A row of cells, neighbours of one look together."""
    found: list[Segment] = []
    look, count = row[:6], 0
    for at in range(0, len(row), 6):
        cell = row[at : at + 6]
        if cell != look:
            found.append(Segment(_text(look, count), _style(look)))
            look, count = cell, 0
        count += 1
    found.append(Segment(_text(look, count), _style(look)))
    return found


def letters(row: tuple[Cell, ...]) -> list[Segment]:
    """A row of letters, neighbours of one look together."""
    found: list[Segment] = []
    look, text = row[0].front + row[0].back, ""
    for cell in row:
        # A blank's front is nobody's: it goes with what stands before it.
        own = look if cell.text == " " and cell.back == look[3:] else cell.front + cell.back
        if own != look:
            found.append(Segment(text, _style(look)))
            look, text = own, ""
        text += cell.text
    found.append(Segment(text, _style(look)))
    return found


def _text(look: bytes, count: int) -> str:
    return (" " if look[:3] == look[3:] else _BLOCK) * count


def _style(look: bytes) -> Style:
    style = _styles.get(look)
    if style is None:
        if len(_styles) >= _MOST_STYLES:
            _styles.clear()
        style = _styles[look] = Style(color=Color.from_rgb(*look[:3]), bgcolor=Color.from_rgb(*look[3:]))
    return style


_ROUNDED = bytes(value & _FINE | value >> 5 for value in range(256))
