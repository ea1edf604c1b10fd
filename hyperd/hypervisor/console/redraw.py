"""A program: what a console said comes in, the screen it left goes out, drawn without anything to answer or obey.

The bytes are a guest's, so an emulator that panics, hangs or grows takes this process with it and nothing else.
``python -m hyperd.hypervisor.console.redraw COLUMNS ROWS BYTES``; BYTES bounds the answer.
"""

from __future__ import annotations

import codecs
import os
import re
import resource
import sys
from collections.abc import Iterable, Sequence

from avt._avt import Cell, Color, Line, Pen, Vt

from hyperd.terminalbytes import Tame

_CPU_SECONDS = 2
_MEMORY_BYTES = 1 << 30
_NOBODY = 65534
_SLICE = 4096
_MOST_LINES = 2000
_MODE = re.compile(r"(?:\x1b\[|\x9b)\?([\d;]+)([hl])|\x1b(c)")
_ALTERNATE = frozenset(("47", "1047", "1049"))
_KEPT_MODES = {"7": True, "2004": False}
"""Modes that programs rely on besides what the emulator tells, and how they are at first."""
_ATTRIBUTES = (
    ("bold", "1"), ("faint", "2"), ("italic", "3"), ("underline", "4"), ("blink", "5"), ("inverse", "7"),
    ("strikethrough", "9"),
)  # fmt: skip


class Screen:
    """An emulator and what it does not tell of itself."""

    def __init__(self, columns: int, rows: int) -> None:
        self._vt = Vt(columns, rows, _MOST_LINES)
        self._tame = Tame()
        self._columns, self._rows = columns, rows
        self._modes = dict(_KEPT_MODES)
        self._alternate = False
        self._below: list[Line] = []
        """The lines of the first screen while a program shows the other one."""

    def feed(self, text: str) -> None:
        """Draw ``text``."""
        at = 0
        text = self._tame.feed(text)
        for match in _MODE.finditer(text):
            self._vt.feed_str(text[at : match.start()])
            self._note(match)
            at = match.start()
        self._vt.feed_str(text[at:])

    def _note(self, match: re.Match[str]) -> None:
        if match[3]:
            self._modes, self._alternate = dict(_KEPT_MODES), False
            return
        on = match[2] == "h"
        for mode in match[1].split(";"):
            if mode in _ALTERNATE:
                if on and not self._alternate:
                    self._below = self._vt.lines()
                self._alternate = on
            elif mode in self._modes:
                self._modes[mode] = on

    def redraw(self, limit: int) -> str:
        """Lines above the screen as far as ``limit`` characters reach, the screen, the cursor and the modes."""
        column, row, shown = self._vt.cursor.col, self._vt.cursor.row, self._vt.cursor.visible
        text = _last(self._below if self._alternate else self._vt.lines()[: -self._rows], limit)
        view = [_drawn(line) for line in self._vt.view()]
        if self._alternate:
            text += "\x1b[?1049h\x1b[H\x1b[2J"
            text += "".join(f"\x1b[{y};1H{line}" for y, line in enumerate(view, 1) if line)
            text += f"\x1b[{row + 1};{min(column, self._columns - 1) + 1}H"
        else:
            # Where lines are above, the screen is as high as it is: they must not stay in sight.
            used = self._rows - 1 if text else max((y for y, line in enumerate(view) if line), default=0)
            last, across = max(used, row), min(column, self._columns - 1)
            text += "\r\n".join(view[: last + 1]) + "\r"
            text += (f"\x1b[{last - row}A" if last > row else "") + (f"\x1b[{across}C" if across else "")
        if column >= self._columns:
            # The cursor waits behind a full line: the last character again brings it there.
            text += _cells(self._vt[row].cells[-1:])
        for mode, usual in _KEPT_MODES.items():
            if self._modes[mode] is not usual:
                text += f"\x1b[?{mode}{'l' if usual else 'h'}"
        text += "\x1b[?1h" if self._vt.cursor_key_app_mode else ""
        return text + ("" if shown else "\x1b[?25l") + self._tame.held


def _last(lines: Sequence[Line], limit: int) -> str:
    """As many of the last lines as fit."""
    kept: list[str] = []
    for line in reversed(lines[-_MOST_LINES:]):
        drawn = _drawn(line)
        limit -= len(drawn) + 2
        if limit < 0:
            break
        kept.append(drawn + "\r\n")
    return "".join(reversed(kept))


def _drawn(line: Line) -> str:
    """A line with its colours, without the blanks at its end."""
    return _cells(line.cells)


def _cells(cells: Sequence[Cell]) -> str:
    out: list[str] = []
    look, end = "", 0
    for cell in cells:
        if cell.width == 0:
            continue
        pen = "" if cell.is_default() or cell.pen.is_default() else _sgr(cell.pen)
        if pen != look:
            out.append(f"\x1b[{pen}m")
            look = pen
        out.append(cell.char)
        if pen or not cell.char.isspace():
            end = len(out)
    text = "".join(out[:end])
    return text + "\x1b[m" if "\x1b" in text else text


def _sgr(pen: Pen) -> str:
    codes = ["0", *(code for name, code in _ATTRIBUTES if getattr(pen, name))]
    return ";".join([*codes, *_colour(pen.foreground, 30), *_colour(pen.background, 40)])


def _colour(colour: Color | None, base: int) -> Iterable[str]:
    if isinstance(colour, Color.Indexed):
        number = colour[0]
        if number < 8:
            return (str(base + number),)
        return (str(base + 52 + number),) if number < 16 else (str(base + 8), "5", str(number))
    if isinstance(colour, Color.RGB):
        return (str(base + 8), "2", *(str(colour[part]) for part in (0, 1, 2)))
    return ()


def _confine() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def main(columns: int, rows: int, limit: int) -> None:
    """Read, draw, write."""
    _confine()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(sys.stdin.buffer.read())
    screen = Screen(columns, rows)
    for start in range(0, len(text), _SLICE):
        screen.feed(text[start : start + _SLICE])
    # The rest of a character that is cut comes with what the console says next.
    sys.stdout.buffer.write(screen.redraw(limit).encode("utf-8", "replace") + decoder.getstate()[0])


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:4]))
