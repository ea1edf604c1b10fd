"""What a console's bytes look like: a terminal emulator behind five methods, so that another can take its place.

The guest is not trusted. The emulator draws and nothing else: titles, the clipboard (OSC 52) and device control
strings fall away, and of queries only those are answered that ``less`` and ``vim`` wait for, with fixed texts.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from avt._avt import Color, Line, Pen, Vt
from rich.style import Style

from hyperd.client import sanitize
from hyperd.terminalbytes import Tame

Run = tuple[str, Style]
"""Text of one look."""

_CONTROL = re.compile(r"\x1b\[(?P<private>[?>]?)(?P<numbers>[\d;]*)(?P<final>[hlnc])")
_UNFINISHED = re.compile(r"\x1b(?:\[[?>]?[\d;]*)?\Z")
_LONGEST_QUESTION = 32
_BRACKETED_PASTE = "2004"
_MOUSE = {"9": "press", "1000": "click", "1002": "drag", "1003": "all"}
_SGR_MOUSE = "1006"


class Mouse(NamedTuple):
    """What a program wants to hear of the mouse: nothing, ``press``, ``click``, ``drag`` or ``all``."""

    wants: str = ""
    sgr: bool = False
    """Whether in the form that knows columns beyond 223."""


class EmulatorError(Exception):
    """The emulator gave up; the session that fed it ends, and nothing else."""


class Emulator(Protocol):
    """A screen of ``rows`` lines. ``feed`` returns the numbers of the lines that changed."""

    @property
    def app_cursor(self) -> bool:
        """Whether cursor keys are to be sent in application mode."""

    @property
    def bracketed_paste(self) -> bool:
        """Whether the program wants pasted text in brackets."""

    @property
    def mouse(self) -> Mouse:
        """What the program wants to hear of the mouse."""

    def feed(self, data: bytes) -> Sequence[int]: ...

    def resize(self, columns: int, rows: int) -> None: ...

    def line(self, y: int) -> list[Run]: ...

    @property
    def cursor(self) -> tuple[int, int, bool]:
        """Column, row, and whether it is shown."""

    def take_scrolled(self) -> list[Line]:
        """Lines that left the screen at the top since the last call; ``drawn`` gives what they look like.

        A guest can scroll thousands of them with a few bytes, so they are drawn only when they are looked at.
        """

    def drawn(self, line: Line) -> list[Run]: ...

    def take_replies(self) -> bytes:
        """What the guest asked for since the last call."""


class AvtEmulator:
    """``Emulator`` on avt, asciinema's emulator in Rust: 50 to 100 MB/s where pure Python has one."""

    def __init__(self, columns: int, rows: int) -> None:
        # The emulator's own scrollback is not used: lines that leave are taken.
        self._vt = Vt(columns, rows, 0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tame = Tame()
        self._scrolled: list[Line] = []
        self._replies = ""
        self._tail = ""
        self._styles: dict[str, Style] = {}
        self._bracketed_paste = False
        self._mouse = Mouse()

    @property
    def app_cursor(self) -> bool:
        return self._vt.cursor_key_app_mode

    @property
    def bracketed_paste(self) -> bool:
        return self._bracketed_paste

    @property
    def mouse(self) -> Mouse:
        return self._mouse

    @property
    def cursor(self) -> tuple[int, int, bool]:
        cursor = self._vt.cursor
        return cursor.col, cursor.row, cursor.visible

    def feed(self, data: bytes) -> Sequence[int]:
        """Draw ``data``; lines above the screen's top are kept until taken."""
        text = self._tame.feed(self._decoder.decode(data))
        try:
            changed, scrolled = self._vt.feed_str(text)
        except BaseException as err:
            if type(err).__name__ != "PanicException":  # Rust's, which is no Exception
                raise
            raise EmulatorError("What the guest printed cannot be drawn.") from err
        self._scrolled.extend(scrolled)
        self._watch_controls(text)
        return changed

    def resize(self, columns: int, rows: int) -> None:
        """Another size; the guest learns nothing of it, a serial line has no way to say so."""
        _, scrolled = self._vt.resize(columns, rows)
        self._scrolled.extend(scrolled)

    def line(self, y: int) -> list[Run]:
        """The runs of one line of the screen."""
        return self.drawn(self._vt[y])

    def take_scrolled(self) -> list[Line]:
        taken, self._scrolled = self._scrolled, []
        return taken

    def take_replies(self) -> bytes:
        taken, self._replies = self._replies, ""
        return taken.encode()

    def _watch_controls(self, text: str) -> None:
        """Notice paste mode, answer status, position and identity; a sequence may be cut by a chunk's end."""
        if "\x1b" not in text and not self._tail:
            return
        text = self._tail + text
        for match in _CONTROL.finditer(text):
            private, numbers, final = match["private"], match["numbers"], match["final"]
            if final in "hl":
                if private == "?":
                    self._set_modes(numbers.split(";"), on=final == "h")
            elif final == "n" and numbers == "5" and not private:
                self._replies += "\x1b[0n"
            elif final == "n" and numbers == "6" and not private:
                column, row, _ = self.cursor
                self._replies += f"\x1b[{row + 1};{column + 1}R"
            elif final == "c" and numbers in ("", "0"):
                self._replies += "\x1b[>0;0;0c" if private == ">" else "\x1b[?6c" if not private else ""
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_QUESTION))
        self._tail = unfinished[0] if unfinished else ""

    def _set_modes(self, modes: Sequence[str], *, on: bool) -> None:
        for mode in modes:
            if mode == _BRACKETED_PASTE:
                self._bracketed_paste = on
            elif mode in _MOUSE:
                self._mouse = self._mouse._replace(wants=_MOUSE[mode] if on else "")
            elif mode == _SGR_MOUSE:
                self._mouse = self._mouse._replace(sgr=on)

    def drawn(self, line: Line) -> list[Run]:
        """The runs of one line."""
        runs: list[Run] = []
        text, look, style = "", "", Style.null()
        for cell in line.cells:
            if cell.width == 0:
                continue
            pen = "" if cell.is_default() else repr(cell.pen)
            if pen != look:
                if text:
                    runs.append((sanitize.line(text), style))
                text, look = "", pen
                style = self._style(pen, cell.pen) if pen else Style.null()
            text += cell.char
        if text:
            runs.append((sanitize.line(text), style))
        return runs

    def _style(self, look: str, pen: Pen) -> Style:
        style = self._styles.get(look)
        if style is None:
            if len(self._styles) > 4096:
                self._styles.clear()
            style = self._styles[look] = Style(
                color=_colour(pen.foreground),
                bgcolor=_colour(pen.background),
                bold=pen.bold or None,
                dim=pen.faint or None,
                italic=pen.italic or None,
                underline=pen.underline or None,
                strike=pen.strikethrough or None,
                reverse=pen.inverse or None,
            )
        return style


def _colour(colour: Color | None) -> str | None:
    if isinstance(colour, Color.Indexed):
        return f"color({colour[0]})"
    if isinstance(colour, Color.RGB):
        return f"#{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}"
    return None
