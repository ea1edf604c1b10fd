"""Pictures by sixels: six rows of pixels a band, one colour of it after the other."""

from __future__ import annotations

import re

from hyperd.client.rfb.framebuffer import Framebuffer
from tui.graphics.fit import CELL, Fit
from tui.graphics.picture import scaled

_COLOURS = 64
_RUN = re.compile(r"(.)\1{3,}")
_MOST_PIXELS = 1 << 20


def picture(screen: Framebuffer, fit: Fit, x: int, y: int, cell: tuple[int, int] = CELL) -> str:
    """What shows the screen in its cells, the first of which is at ``x`` and ``y``; the cursor stays."""
    width, height = fit.columns * cell[0], fit.rows * cell[1]
    while width * height > _MOST_PIXELS:
        width, height = width // 2, height // 2
    # Bands of six: what is beyond the last whole one would scroll the terminal at its bottom.
    height = max(6, height - height % 6)
    small = scaled(screen, width, height).quantize(_COLOURS)
    palette = small.getpalette() or []
    colours = [tuple(palette[at : at + 3]) for at in range(0, len(palette), 3)]
    pixels = small.tobytes()
    out = [f'\x1b7\x1b[{y + 1};{x + 1}H\x1bP0;1;0q"1;1;{width};{height}']
    out += [f"#{n};2;{r * 100 // 255};{g * 100 // 255};{b * 100 // 255}" for n, (r, g, b) in enumerate(colours)]
    for top in range(0, height, 6):
        out.append(_band([pixels[(top + line) * width : (top + line + 1) * width] for line in range(6)]))
    return "".join(out) + "\x1b\\\x1b8"


def _band(lines: list[bytes]) -> str:
    parts = []
    for colour in sorted(set(b"".join(lines))):
        only = bytes(int(value == colour) for value in range(256))
        columns = [int.from_bytes(line.translate(only), "big") << bit for bit, line in enumerate(lines)]
        total = 0
        for column in columns:
            total |= column
        sixels = (total + int.from_bytes(b"\x3f" * len(lines[0]), "big")).to_bytes(len(lines[0]), "big").decode()
        parts.append(f"#{colour}{_packed(sixels.rstrip('?'))}")
    return "$".join(parts) + "-"


def _packed(sixels: str) -> str:
    """With runs of one sixel counted."""
    return _RUN.sub(lambda run: f"!{len(run[0])}{run[1]}", sixels)
