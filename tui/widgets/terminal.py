"""A guest's terminal inside the UI: an emulator's lines, scrollback, keys and paste.

Output is fed in slices of 2 KiB with a breath between them and painted at the screen's own pace, so a guest that
prints megabytes neither freezes the UI nor fills an SSH line.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable

from avt._avt import Line
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hyperd.client.escape import EscapeKey
from tui.widgets.emulator import AvtEmulator, Emulator
from tui.widgets.keys import encode, encode_paste

_SLICE = 2048
_SCROLLBACK_LINES = 5000
_DOUBLE_PRESS_SECONDS = 0.4
_DEAD_SECONDS = 1.0
_MIN_COLUMNS, _MIN_ROWS = 20, 4


class Terminal(ScrollView, can_focus=True):
    """Shows what ``feed`` gets; tells by ``Typed`` what is typed, by ``Left`` that the escape key was pressed."""

    DEFAULT_CSS = """
    Terminal { background: $background; color: $foreground; scrollbar-size: 1 0; overflow-x: hidden; }
    """

    class Typed(Message):
        """Bytes for the guest."""

        def __init__(self, data: bytes) -> None:
            super().__init__()
            self.data = data

    class Left(Message):
        """The user wants out of the console."""

    class Wanted(Message):
        """The user wants the session that is not there."""

    def __init__(self, *, escape: str = "^]", id: str | None = None) -> None:
        super().__init__(id=id)
        self.escape = EscapeKey(escape)
        self._emulator: Emulator = AvtEmulator(80, 24)
        self._columns, self._rows = 80, 24
        self._above: deque[Line] = deque(maxlen=_SCROLLBACK_LINES)
        self._cursor_row = 0
        self._following = True
        self._settling = False
        self.live = False
        """Whether keys are for a guest: while there is no session they open one, or lead away."""
        self._dead_since = 0.0

    def end(self) -> None:
        """The session is over. What is still being typed was for the guest, so no key counts for a moment."""
        self.live = False
        self._dead_since = time.monotonic()

    @property
    def emulator(self) -> Emulator:
        return self._emulator

    @property
    def cells(self) -> tuple[int, int]:
        """Columns and rows."""
        return self._columns, self._rows

    @property
    def text(self) -> str:
        """The screen's text, for tests and for copying."""
        return "\n".join("".join(text for text, _ in self._emulator.line(y)).rstrip() for y in range(self._rows))

    def clear(self) -> None:
        """An empty screen, for another guest."""
        self._emulator = AvtEmulator(self._columns, self._rows)
        self._above.clear()
        self._set_size()
        self.refresh()

    async def feed(self, data: bytes) -> None:
        """Draw ``data``; returns when it is in the emulator, not when it is painted."""
        for start in range(0, len(data), _SLICE):
            self._feed(data[start : start + _SLICE])
            if start + _SLICE < len(data):
                await asyncio.sleep(0)

    def _feed(self, data: bytes) -> None:
        changed = self._emulator.feed(data)
        replies = self._emulator.take_replies()
        if replies and self.live:  # a log's old questions are nobody's any more
            self.post_message(self.Typed(replies))
        scrolled = self._emulator.take_scrolled()
        _, row, _ = self._emulator.cursor
        if scrolled:
            self._above.extend(scrolled)
            self._set_size()
            if self._following:
                self._to_end()
            self.refresh()
        else:
            self._refresh_rows({*changed, row, self._cursor_row})
        self._cursor_row = row

    def render_line(self, y: int) -> Strip:
        """One line of scrollback or screen."""
        width = self.scrollable_content_region.width
        at = y + self.scroll_offset.y
        base = self.rich_style
        if at < len(self._above):
            runs = self._emulator.drawn(self._above[at])
            cursor = -1
        elif at - len(self._above) < self._rows:
            row = at - len(self._above)
            runs = self._emulator.line(row)
            column, cursor_row, shown = self._emulator.cursor
            cursor = column if shown and row == cursor_row and self.has_focus else -1
        else:
            return Strip.blank(width, base)
        strip = Strip([Segment(text, base + style) for text, style in runs]).adjust_cell_length(width, base)
        if 0 <= cursor < width:
            under = strip.crop(cursor, cursor + 1).apply_style(Style(reverse=True))
            strip = Strip.join([strip.crop(0, cursor), under, strip.crop(cursor + 1, width)])
        return strip

    def on_resize(self) -> None:
        """The emulator has the widget's size."""
        region = self.scrollable_content_region
        columns, rows = max(_MIN_COLUMNS, region.width), max(_MIN_ROWS, region.height)
        if (columns, rows) != (self._columns, self._rows):
            self._columns, self._rows = columns, rows
            self._emulator.resize(columns, rows)
            self._above.extend(self._emulator.take_scrolled())
        self._set_size()
        self._to_end()

    def _to_end(self) -> None:
        """Show the last line, and follow; once more after the layout, which knows the new size."""
        self._following = True
        self.scroll_end(animate=False, immediate=True)
        if not self._settling:
            self._settling = True
            self.call_after_refresh(self._settle)

    def _settle(self) -> None:
        self._settling = False
        if self._following:
            self.scroll_end(animate=False, immediate=True)
            self.refresh()

    def on_key(self, event: events.Key) -> None:
        """Every key is the guest's, but the escape key; Shift with page keys scrolls."""
        if not self.live and event.key in ("tab", "shift+tab"):
            return
        event.stop()
        event.prevent_default()
        if event.key in ("shift+pageup", "shift+pagedown"):
            (self.scroll_page_up if event.key == "shift+pageup" else self.scroll_page_down)(animate=False)
            return
        if not self.live:
            self._dead_key(event.key)
            return
        self._to_end()
        data = encode(event.key, event.character, app_cursor=self._emulator.app_cursor).encode()
        self._type(data)

    def _dead_key(self, key: str) -> None:
        if time.monotonic() - self._dead_since < _DEAD_SECONDS:
            return
        if key == "c":
            self.post_message(self.Wanted())
        elif key in ("escape", "q", "ctrl+right_square_bracket"):
            self.post_message(self.Left())

    def on_paste(self, event: events.Paste) -> None:
        """Paste as the guest's program asked for it."""
        event.stop()
        if not self.live:
            return
        self._to_end()
        self._send(encode_paste(event.text, bracketed=self._emulator.bracketed_paste).encode())

    def watch_scroll_y(self, old: float, new: float) -> None:
        """Looking back stops following; the end takes it up again."""
        super().watch_scroll_y(old, new)
        self._following = self.scroll_offset.y >= self.max_scroll_y or (self._following and new > old)

    def on_focus(self) -> None:
        """The cursor shows where keys go."""
        self._refresh_rows({self._cursor_row})

    def on_blur(self) -> None:
        """See ``on_focus``."""
        self._refresh_rows({self._cursor_row})

    def _type(self, data: bytes) -> None:
        kept, leaves = self.escape.feed(data)
        self._send(kept)
        if leaves:
            self.post_message(self.Left())
        elif self.escape.pending:
            self.set_timer(_DOUBLE_PRESS_SECONDS, self._escape_expired)

    def _escape_expired(self) -> None:
        if self.escape.expire():
            self.post_message(self.Left())

    def _send(self, data: bytes) -> None:
        if data:
            self.post_message(self.Typed(data))

    def _set_size(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._above) + self._rows)

    def _refresh_rows(self, rows: Iterable[int]) -> None:
        for row in rows:
            y = row + len(self._above) - self.scroll_offset.y
            if 0 <= y < self.size.height:
                self.refresh(Region(0, y, self.size.width, 1))
