"""A guest's terminal inside the UI: an emulator's lines, scrollback, keys and paste.

Output is fed in slices of 2 KiB with a breath between them and painted at the screen's own pace, so a guest that
prints megabytes neither freezes the UI nor fills an SSH line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from avt._avt import Line
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hyperd.client import sanitize
from tui.widgets.emulator import AvtEmulator, Emulator
from tui.widgets.guestkeys import GuestKeys
from tui.widgets.keys import encode, encode_paste
from tui.widgets.mouse import report

_SLICE = 2048
_SCROLLBACK_LINES = 5000
_FOUND = Style(color="black", bgcolor="yellow")
_MIN_COLUMNS, _MIN_ROWS = 20, 4


class Terminal(GuestKeys, ScrollView, can_focus=True):
    """Shows what ``feed`` gets; tells by ``Typed`` what is typed."""

    DEFAULT_CSS = """
    Terminal { background: $background; color: $foreground; scrollbar-size: 1 0; overflow: hidden auto; }
    """

    class Typed(Message):
        """Bytes for the guest."""

        def __init__(self, data: bytes) -> None:
            super().__init__()
            self.data = data

    def __init__(self, *, escape: str = "^]", id: str | None = None) -> None:
        super().__init__(escape=escape, id=id)
        self._emulator: Emulator = AvtEmulator(80, 24)
        self._columns, self._rows = 80, 24
        self._above: deque[Line] = deque(maxlen=_SCROLLBACK_LINES)
        self._cursor_row = 0
        self._following = True
        self._settling = False
        self._sought = ""
        self._found = -1
        """The line that was found last, counted from the oldest one."""

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

    @property
    def history(self) -> str:
        """All that is kept: what scrolled away, and the screen."""
        above = "".join(f"{sanitize.line(line.text).rstrip()}\n" for line in self._above)
        return f"{above}{self.text.rstrip()}\n"

    @property
    def sought(self) -> str:
        """What was searched last."""
        return self._sought

    def find(self, text: str, *, back: bool = True) -> bool:
        """Show the next line with ``text`` in it, further back or on, and mark it; False where there is none.

        Case does not count. The same text again goes on from where it was found.
        """
        lines = self.history.lower().split("\n")
        start = self._found if text == self._sought and self._found >= 0 else len(lines) if back else -1
        places = range(start - 1, -1, -1) if back else range(start + 1, len(lines))
        self._sought = text
        found = next((at for at in places if text.lower() in lines[at]), -1) if text else -1
        if found < 0:
            self.refresh()
            return False
        self._found = found
        self._following = False
        self.scroll_to(y=max(0, found - self.size.height // 2), animate=False, immediate=True)
        self.refresh()
        return True

    def forget(self) -> None:
        """Mark nothing any more."""
        self._sought, self._found = "", -1
        self.refresh()

    def clear(self) -> None:
        """An empty screen, for another guest."""
        self._emulator = AvtEmulator(self._columns, self._rows)
        self._above.clear()
        self.forget()
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
        if self._sought:
            strip = _marked(strip, self._sought)
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
        if self._following:
            self._to_end()

    def _back_to_end(self) -> None:
        """What is typed is to be seen. Who is there already waits for no repaint before the guest's answer."""
        if not self._following or self.scroll_offset.y < self.max_scroll_y:
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
        event.stop()
        event.prevent_default()
        if event.key in ("shift+pageup", "shift+pagedown"):
            (self.scroll_page_up if event.key == "shift+pageup" else self.scroll_page_down)(animate=False)
            return
        if self.ours(event.key, event.character):
            return
        self._back_to_end()
        self._type(encode(event.key, event.character, app_cursor=self._emulator.app_cursor).encode())

    def paste(self, text: str) -> None:
        """Type ``text``, in brackets where the guest's program asked for that."""
        self._back_to_end()
        self._send(encode_paste(text, bracketed=self._emulator.bracketed_paste).encode())

    def type(self, text: str) -> None:
        """Type what the user chose to have typed."""
        self._back_to_end()
        self._send(text.encode())

    def send_escape(self) -> None:
        """Give the guest the escape key itself."""
        self._send(self.escape.control)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """The guest's program hears of the mouse if it asked for it."""
        self._point(event, "down")

    def on_mouse_up(self, event: events.MouseUp) -> None:
        self._point(event, "up")

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._point(event, "move")

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._point(event, "scroll up")

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._point(event, "scroll down")

    def _point(self, event: events.MouseEvent, what: str) -> None:
        row = event.y + self.scroll_offset.y - len(self._above)
        # With Shift the mouse is the user's, as in other terminals.
        if not self.live or event.shift or not 0 <= row < self._rows or event.x >= self._columns:
            return
        data = report(self._emulator.mouse, what, event.button, event.x, row, meta=event.meta, ctrl=event.ctrl)
        if data:
            event.stop()
            event.prevent_default()
            self._send(data)

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
        # One press is enough: the next key says whether the guest was meant.
        if leaves or self.escape.expire():
            self.take_command()

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


def _marked(strip: Strip, text: str) -> Strip:
    """With every place of ``text`` marked."""
    plain, wanted = strip.text.lower(), text.lower()
    at = plain.find(wanted)
    while at >= 0:
        start, end = cell_len(plain[:at]), cell_len(plain[: at + len(wanted)])
        found = strip.crop(start, end).apply_style(_FOUND)
        strip = Strip.join([strip.crop(0, start), found, strip.crop(end, strip.cell_length)])
        at = plain.find(wanted, at + len(wanted))
    return strip
