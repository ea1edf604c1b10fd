"""A guest's screen inside the UI, in pictures where the terminal shows them, in half blocks where not.

Keys and the mouse go to it as to a real one. What is drawn follows what is asked for: a screen that nobody sees
costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from hyperd.client.rfb.framebuffer import Framebuffer
from tui.graphics import blocks, kitty, sixel
from tui.graphics.fit import CELL, Fit
from tui.graphics.glyphs import Letters, Page, load
from tui.widgets.guestkeys import GuestKeys
from tui.widgets.keysyms import keysyms, typed

_WHEEL_UP, _WHEEL_DOWN = 8, 16
_LONGEST_PASTE = 4096


class VgaScreen(GuestKeys, can_focus=True):
    """Shows what ``paint`` gets; tells by ``Pressed`` and ``Pointed`` what the guest is to hear."""

    DEFAULT_CSS = "VgaScreen { background: $background; }"

    class Pressed(Message):
        """Keys, pressed one after the other and released the other way round."""

        def __init__(self, keysyms: tuple[int, ...]) -> None:
            super().__init__()
            self.keysyms = keysyms

    class Pointed(Message):
        """The pointer is at a pixel, with a mask of its buttons."""

        def __init__(self, x: int, y: int, buttons: int) -> None:
            super().__init__()
            self.x = x
            self.y = y
            self.buttons = buttons

    def __init__(self, *, escape: str = "^]", id: str | None = None) -> None:
        # On a screen there is no line that Enter ~ . could begin.
        super().__init__(escape=escape if escape.startswith("^") else "^]", id=id)
        self.mode = "blocks"
        self.write: Callable[[str], None] = lambda _: None
        """Puts bytes of pictures on the terminal."""
        self.cell = CELL
        self.frame: Framebuffer | None = None
        self._fit: Fit | None = None
        self._rows: list[bytes] = []
        self._page: Page | None = None
        self._letters: Letters | None = None
        self._looked = False
        self.reads = True
        """Whether letters are shown as letters, where pictures are half blocks."""
        self._pictured = False
        self._buttons = 0

    @property
    def pace(self) -> float:
        """Seconds between two pictures: each costs the line to the user what it has in bytes."""
        return 0.05 if self.mode == "blocks" else 0.15

    def clear(self) -> None:
        """Nothing, for another guest."""
        self.unpicture()
        self.frame, self._fit, self._rows, self._page = None, None, [], None
        self.refresh()

    def paint(self, frame: Framebuffer) -> None:
        """Show ``frame``, which may change afterwards."""
        self.frame = frame
        if not self.size.width or not self.size.height or not frame.width:
            return
        if self._write_letters(frame):
            return
        self._page = None
        fit = Fit.of(frame.width, frame.height, self.size.width, self.size.height, self._cell)
        moved, self._fit = fit != self._fit, fit
        if self.mode != "blocks":
            if moved:
                self.unpicture()
                self._rows = []
                self.refresh()
            self.call_after_refresh(self._picture)
            return
        rows = blocks.rows(frame, fit)
        changed = [y for y, row in enumerate(rows) if moved or y >= len(self._rows) or row != self._rows[y]]
        self._rows = rows
        if moved:
            self.refresh()
        elif changed:
            self.refresh(*(Region(0, fit.top + y, self.size.width, 1) for y in changed))

    def _write_letters(self, frame: Framebuffer) -> bool:
        """Show text as text; False for a picture, or one that is wider than this."""
        if self.mode != "blocks" or not self.reads:
            return False
        if not self._looked:
            self._looked = True
            self.run_worker(self._look_for_letters())
        page = self._letters.read(frame) if self._letters is not None else None
        if page is None or page.columns > self.size.width:
            return False
        height, rows = self.size.height, len(page.rows)
        top = (height - rows) // 2 if rows <= height else min(0, max(height - rows, height - 1 - page.last))
        fit = Fit((self.size.width - page.columns) // 2, top, page.columns, rows, frame.width, frame.height)
        before, self._page = self._page, page
        if before is None or fit != self._fit:
            self._fit = fit
            self.refresh()
            return True
        changed = [y for y, (old, new) in enumerate(zip(before.rows, page.rows, strict=True)) if old != new]
        self.refresh(*(Region(0, top + y, self.size.width, 1) for y in changed if 0 <= top + y < height))
        return True

    async def _look_for_letters(self) -> None:
        """The host's font, once; what is on the screen by then is read by it."""
        self._letters = await asyncio.to_thread(load)
        if self._letters is not None and self.frame is not None:
            self.paint(self.frame)

    def unpicture(self) -> None:
        """Take the picture away, before something else is shown there."""
        if self._pictured:
            self._pictured = False
            if self.mode == "kitty":
                self.write(kitty.nothing())

    def repaint(self) -> None:
        """Show again what was shown, on a terminal that has forgotten it."""
        if self.frame is not None:
            self._fit = self._page = None
            self.paint(self.frame)

    @property
    def _cell(self) -> tuple[int, int]:
        return (1, 2) if self.mode == "blocks" else self.cell

    def _picture(self) -> None:
        frame, fit = self.frame, self._fit
        if frame is None or fit is None or not self.is_on_screen or self.screen is not self.app.screen:
            return
        x, y = self.region.x + fit.left, self.region.y + fit.top
        if self.mode == "kitty":
            self.write(kitty.picture(frame, fit, x, y))
        else:
            self.write(sixel.picture(frame, fit, x, y, self.cell))
        self._pictured = True

    def render_line(self, y: int) -> Strip:
        """A row of half blocks; nothing where a picture lies."""
        width, base = self.size.width, self.rich_style
        row = y - self._fit.top if self._fit is not None else -1
        if self._page is not None and self._fit is not None and 0 <= row < len(self._page.rows):
            left = [Segment(" " * self._fit.left, base)] if self._fit.left else []
            return Strip([*left, *blocks.letters(self._page.rows[row])]).adjust_cell_length(width, base)
        if self._fit is None or self.mode != "blocks" or self._page is not None or not 0 <= row < len(self._rows):
            return Strip.blank(width, base)
        left = [Segment(" " * self._fit.left, base)] if self._fit.left else []
        return Strip([*left, *blocks.segments(self._rows[row])]).adjust_cell_length(width, base)

    def on_resize(self) -> None:
        """The same screen in other cells."""
        self.repaint()

    def on_key(self, event: events.Key) -> None:
        """Every key is the guest's, but the escape key."""
        event.stop()
        event.prevent_default()
        if not self.commanding and self.live and self._escapes(event):
            self.take_command()
        elif not self.ours(event.key, event.character) and (pressed := keysyms(event.key, event.character)):
            self.post_message(self.Pressed(pressed))

    def paste(self, text: str) -> None:
        """Type ``text``, as far as keys go: a guest's screen takes no text."""
        for character in text.replace("\r\n", "\n")[:_LONGEST_PASTE]:
            if character.isprintable() or character in "\r\n\t":
                self.post_message(self.Pressed(typed(character)))

    def send_escape(self) -> None:
        """Press the escape key itself."""
        self.post_message(self.Pressed(keysyms(_name(self.escape.control), None)))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Where the mouse is, the guest's pointer is."""
        self._point(event, self._buttons)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._point(event, self._buttons | _mask(event.button))

    def on_mouse_up(self, event: events.MouseUp) -> None:
        self._point(event, self._buttons & ~_mask(event.button))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._turn(event, _WHEEL_UP)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._turn(event, _WHEEL_DOWN)

    def _turn(self, event: events.MouseEvent, wheel: int) -> None:
        held = self._buttons
        self._point(event, held | wheel)
        self._point(event, held)

    def _point(self, event: events.MouseEvent, buttons: int) -> None:
        place = self._fit.pixel(event.x, event.y) if self._fit is not None else None
        if place is None or not self.live or event.shift:
            return
        event.stop()
        self._buttons = buttons
        self.post_message(self.Pointed(*place, buttons))

    def _escapes(self, event: events.Key) -> bool:
        return event.key == _name(self.escape.control)


def _name(control: bytes) -> str:
    """Textual's name of a control key."""
    names = {0x1B: "escape", 0x1C: "ctrl+backslash", 0x1D: "ctrl+right_square_bracket",
             0x1E: "ctrl+circumflex_accent", 0x1F: "ctrl+underscore", 0x00: "ctrl+@"}  # fmt: skip
    return names.get(control[0]) or f"ctrl+{chr(control[0] + 0x60)}"


def _mask(button: int) -> int:
    return {1: 1, 2: 2, 3: 4}.get(button, 0)
