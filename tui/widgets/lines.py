"""Text by lines, scrolled, drawn only where it is seen: YAML, events, an overview."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip


class LinesView(ScrollView, can_focus=True):
    """Shows ``Text`` lines; of other lines only those that differ are painted."""

    DEFAULT_CSS = """
    LinesView { background: $background; scrollbar-size: 1 0; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "scroll_up", show=False),
        Binding("j", "scroll_down", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("G", "scroll_end", show=False),
    ]

    class Asked(Message):
        """The user wants to seek something in it."""

    def __init__(self, *, seekable: bool = False, id: str | None = None) -> None:
        """``seekable``: ``/`` asks for a word to seek, ``n`` and ``N`` go to the next and the one before."""
        super().__init__(id=id)
        self._lines: Sequence[Text] = ()
        self._sought = ""
        if seekable:
            self._bindings.bind("slash", "ask", show=False)
            self._bindings.bind("n", "next(1)", show=False)
            self._bindings.bind("N", "next(-1)", show=False)

    @property
    def lines(self) -> Sequence[Text]:
        return self._lines

    def set_lines(self, lines: Sequence[Text]) -> None:
        """Show other lines; the place stays."""
        before, self._lines = self._lines, lines
        size = Size(max((cell_len(line.plain) for line in lines), default=0), len(lines))
        if size.height != self.virtual_size.height:
            self.virtual_size = size
            self.refresh()
            return
        self.virtual_size = size
        for y, (old, new) in enumerate(zip(before, lines, strict=True)):
            if old != new:
                self.refresh_line(y)

    def action_ask(self) -> None:
        """Whoever shows this asks for a word."""
        self.post_message(self.Asked())

    def seek(self, word: str) -> None:
        """Mark a word wherever it is, and go to the first place at or below the top."""
        self._sought = word.lower()
        self.refresh()
        if self._sought:
            self._go(self.scroll_offset.y, 1)

    def action_next(self, by: int) -> None:
        """The next line with what is sought, or the one before."""
        self._go(self.scroll_offset.y + by, by)

    def _go(self, start: int, by: int) -> None:
        count = len(self._lines)
        for step in range(count if self._sought else 0):
            y = (start + step * by) % count
            if self._sought in self._lines[y].plain.lower():
                self.scroll_to(y=y, animate=False)
                return

    def scroll_by(self, key: str) -> bool:
        """Scroll where ``key`` is one that does, for a screen that keeps the keys to itself; whether it was."""
        scrolls = {
            "up": self.scroll_up, "down": self.scroll_down, "pageup": self.scroll_page_up,
            "pagedown": self.scroll_page_down, "home": self.scroll_home, "end": self.scroll_end,
        }  # fmt: skip
        if key not in scrolls:
            return False
        scrolls[key](animate=False)
        return True

    def text_at(self, row: int) -> Text:
        """What is drawn in a row."""
        return self._lines[row]

    def render_line(self, y: int) -> Strip:
        """One line, from the right place."""
        offset, top = self.scroll_offset
        width = self.scrollable_content_region.width
        base = self.rich_style
        if y + top >= len(self._lines):
            return Strip.blank(width, base)
        text = self.text_at(y + top)
        if self._sought and self._sought in (plain := text.plain.lower()) and len(plain) == len(text.plain):
            text = text.copy()
            at = plain.find(self._sought)
            while at >= 0:
                text.stylize("reverse", at, at + len(self._sought))
                at = plain.find(self._sought, at + len(self._sought))
        strip = Strip(text.render(self.app.console)).apply_style(base)
        return strip.crop_extend(offset, offset + width, base)
