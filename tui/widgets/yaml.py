"""An object as YAML with a line that the keys are about; what is below a key can be put away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType

from tui import folding
from tui.detail import fold as wrapped
from tui.folding import Block, Path
from tui.widgets.lines import LinesView

_LINE = re.compile(r"(?P<indent>\s*(?:- )*)(?P<key>(?:\"[^\"]*\"|[\w./$@-]+)):(?P<rest>(?: .*)?)\Z")
_NUMBER_OR_WORD = re.compile(r"(?:-?[0-9.]+(?:[eE][-+]?[0-9]+)?|true|false|null|\[\]|\{\})\Z")
_MARGIN = 2
"""Cells before each line: where the keys are, and whether there is more below."""
_WRAPPED_INDENT = 4


class YamlView(LinesView):
    """Shows the lines that are not put away; what was opened stays open when the object changes, or is another."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "edge(0)", show=False),
        Binding("end,G", "edge(-1)", show=False),
        Binding("enter,space", "turn", show=False),
        Binding("left,h", "close", show=False),
        Binding("right,l", "unfold", show=False),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(seekable=True, id=id)
        self.source: Sequence[str] = ()
        """All lines, those that are put away too."""
        self._blocks: dict[int, Block] = {}
        self._turned: set[Path] = set()
        """Those that the user has otherwise than they are at first."""
        self._found: set[Path] = set()
        """Those that are open because what is sought is in them."""
        self._rows: list[int] = []
        """Which line of the source each row is of."""
        self._at = 0
        """The line of the source that the keys are about."""
        self._width = 0
        """To which lines are cut; 0 where they are not."""

    def present(self, source: Sequence[str], *, wraps: bool) -> None:
        """Show this; the place stays."""
        width = self.scrollable_content_region.width if wraps else 0
        if source == self.source and width == self._width:
            return
        self._width = width
        if source != self.source:
            self.source, self._blocks = source, folding.blocks(source)
        self._draw()

    def home(self) -> None:
        """To the top, as for another object."""
        self._at = 0
        self.scroll_home(animate=False)

    def unfold_all(self) -> bool:
        """Open all, or where all is open put away what is at first; returns which."""
        away = {block.path for block in self._blocks.values() if folding.away(block)}
        closed = [block for block in self._blocks.values() if self._folded(block)]
        self._turned, self._found = (away if closed else set()), set()
        self._draw()
        return bool(closed)

    # Keys

    def action_move(self, by: int) -> None:
        """The next line, or the one before."""
        lines = sorted(set(self._rows))
        if lines:
            place = lines.index(self._at) if self._at in lines else 0
            self._go_to(lines[max(0, min(len(lines) - 1, place + by))])

    def action_page(self, by: int) -> None:
        """A screenful."""
        self.action_move(by * max(1, self.scrollable_content_region.height - 1))

    def action_edge(self, end: int) -> None:
        """The first line or the last."""
        if self._rows:
            self._go_to(self._rows[end])

    def action_turn(self) -> None:
        """Put away what is below the line, or show it; of a line with nothing below, what it is in."""
        self._turn(self._blocks.get(self._at) or self._above())

    def action_close(self) -> None:
        """Put away what is below the line; where it is, go to the key that the line is in."""
        block = self._blocks.get(self._at)
        if block is not None and not self._folded(block):
            self._turn(block)
        elif (above := self._above()) is not None:
            self._go_to(above.start)

    def action_unfold(self) -> None:
        """Show what is below the line; where it is shown, go there."""
        block = self._blocks.get(self._at)
        if block is not None and self._folded(block):
            self._turn(block)
        elif block is not None:
            self.action_move(1)

    def on_click(self, event: events.Click) -> None:
        """A click on a key is as Enter on it."""
        row = event.y + self.scroll_offset.y
        if row < len(self._rows):
            self._go_to(self._rows[row])
            if self._at in self._blocks:
                self.action_turn()

    def on_focus(self) -> None:
        """Show where the keys are."""
        self._refresh_line(self._at)

    def on_blur(self) -> None:
        """They are elsewhere."""
        self._refresh_line(self._at)

    # What is sought

    def seek(self, word: str) -> None:
        """Mark a word wherever it is, and go to the first place from the line on, opening what hides it."""
        self._sought = word.lower()
        self._found.clear()
        self._draw()
        self.refresh()
        self._seek(0, 1)

    def action_next(self, by: int) -> None:
        """The next line with what is sought, or the one before."""
        self._seek(by, by)

    def _seek(self, first: int, by: int) -> None:
        count = len(self.source)
        for step in range(count if self._sought else 0):
            at = (self._at + first + step * by) % count
            if self._sought in self.source[at].lower():
                self._found |= {block.path for block in folding.around(at, self._blocks)}
                self._draw()
                self._go_to(at)
                return

    # What is shown

    def _folded(self, block: Block) -> bool:
        return folding.away(block) != (block.path in self._turned) and block.path not in self._found

    def _above(self) -> Block | None:
        inside = folding.around(self._at, self._blocks)
        return inside[-1] if inside else None

    def _turn(self, block: Block | None) -> None:
        if block is None:
            return
        wanted = not self._folded(block)
        self._found.discard(block.path)
        if self._folded(block) != wanted:
            self._turned ^= {block.path}
        self._at = block.start
        self._draw()
        self._go_to(self._at)

    def _go_to(self, at: int) -> None:
        self._refresh_line(self._at)
        self._at = at
        self._refresh_line(at)
        row, top, height = self._rows.index(at), self.scroll_offset.y, self.scrollable_content_region.height
        if row < top:
            self.scroll_to(y=row, animate=False)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False)

    def _refresh_line(self, at: int) -> None:
        if at in self._rows:
            self.refresh_line(self._rows.index(at))

    def _draw(self) -> None:
        left = folding.shown(self.source, self._blocks, self._folded)
        if self._at not in left:
            self._at = max((at for at in left if at <= self._at), default=0)
        self._rows, lines = [], []
        for at in left:
            line = self._line(at)
            parts = wrapped([line], self._width, indent=_MARGIN + _WRAPPED_INDENT) if self._width else [line]
            self._rows += [at] * len(parts)
            lines += parts
        self.set_lines(lines)

    def text_at(self, row: int) -> Text:
        """A line, and a mark before it where the keys are."""
        text = super().text_at(row)
        if not self.has_focus or self._rows[row] != self._at or (row and self._rows[row - 1] == self._at):
            return text
        return Text("▌").append_text(text[1:])

    def _line(self, at: int) -> Text:
        block = self._blocks.get(at)
        if block is None:
            return Text("  ").append_text(coloured(self.source[at]))
        folded = self._folded(block)
        text = Text(" ").append("▸" if folded else "▾", style="" if folded else "dim")
        text.append_text(coloured(self.source[at]))
        return text.append(f" ⋯ {block.size}", style="dim") if folded else text


def coloured(line: str) -> Text:
    """A line of YAML, its key and value told apart."""
    match = _LINE.match(line)
    if match is None:
        return Text(line)
    text = Text(match["indent"])
    text.append(match["key"], style="cyan").append(":", style="dim")
    value = match["rest"]
    return text.append(value, style="yellow" if _NUMBER_OR_WORD.match(value.strip()) else "green")
