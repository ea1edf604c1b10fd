"""A screen without colours and without signs beyond ASCII: for old terminals, serial lines and screen readers."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_SIGNS = {
    "●": "*", "○": "o", "▲": "!", "✖": "x", "◐": "~", "◌": "?", "✓": "+", "·": ".", "▌": ">", "…": "~", "│": "|",
    "─": "-", "━": "=", "└": "`", "┌": ".", "┐": ".", "┘": "'", "▏": "|", "▔": "-", "▁": "_", "↑": "^", "↓": "v",
    "←": "<", "→": ">", "×": "x", "–": "-", "—": "-", "█": "#", "▇": "#", "▆": "#", "▅": "=", "▄": "=", "▃": "-",
    "▂": "-", "▊": " ", "▎": " ", "“": '"', "”": '"', "▋": " ", "▉": " ", "▍": " ", "⟳": "@", "☑": "*",
    "▸": "+", "▾": "-", "⋯": "~",
}  # fmt: skip
"""Of one cell each, as what stands for them."""
_TABLE = str.maketrans(_SIGNS)


class Plain(LineFilter):
    """The last thing that is done to a line; letters of other languages stay."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same cells, in ASCII where a sign is known."""
        return [Segment(text.translate(_TABLE), style, control) for text, style, control in segments]
