"""Only what is different goes to the terminal.

Textual writes whole lines of a widget where one letter of them changed. Over a slow line that is what one waits
for, so it is read here as a terminal would, compared with what stands there, and only other cells are written.
What is not understood passes as it is, and nothing that stands there counts as known any more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len, get_character_cell_size

_TOKENS = re.compile(
    r"\x1b\[(?P<row>\d+);(?P<column>\d+)H|\x1b\[(?P<style>[\d;]*)m|(?P<line>\r?\n)|\x1b\[\?2026(?P<frame>[hl])"
    r"|(?P<aside>\x1b\[\?25[hl]|\x1b\](?:0|2|22|52);[^\x07\x1b]*(?:\x07|\x1b\\)|\x07)"
    r"|(?P<text>[^\x00-\x1f\x7f-\x9f]+)|(?P<other>[\s\S])"
)
_GAP = 5
"""So many cells that are right are written once more rather than jumped over."""
_BLANK = 12
_BLANKS = re.compile(f"( {{{_BLANK},}})")
"""So many blanks are cheaper erased than written."""
_OFF = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "7": "27", "8": "28", "9": "29"}
_SEEN_ON_BLANKS = frozenset(("4", "7", "9"))
_NO_ERASING = ("screen", "linux", "vt", "dumb")
"""Terminals that may erase in another colour than the one that is set."""


class Look(NamedTuple):
    """How a cell looks: colours and attributes as numbers of SGR."""

    front: str
    back: str
    attributes: frozenset[str]


PLAIN = Look("39", "49", frozenset())


@lru_cache(512)
def look_of(parameters: str) -> Look:
    """Of the parameters of one sequence, which begin from nothing."""
    front, back, attributes = "39", "49", set[str]()
    left = iter(parameters.split(";"))
    for one in left:
        if one in ("38", "48"):
            kind = next(left, "")
            colour = ";".join((one, kind, *(next(left, "") for _ in range(3 if kind == "2" else 1))))
            front, back = (colour, back) if one == "38" else (front, colour)
        elif len(one) >= 2 and one[0] in "39" and one[-2:-1] in "39":
            front = one
        elif len(one) >= 2:
            back = one
        elif one not in ("", "0"):
            attributes.add(one)
    return Look(front, back, frozenset(attributes))


@lru_cache(2048)
def turn(before: Look, now: Look) -> str:
    """What makes one of the other, as short as it goes."""
    if before == now:
        return ""
    gone = before.attributes - now.attributes
    kept = now.attributes
    words = sorted({_OFF.get(one, "0") for one in gone})
    if "0" in words:
        before, words, new = PLAIN, ["0"], kept
    else:
        new = kept - before.attributes
        if "22" in words:  # bold and faint go together
            new |= kept & {"1", "2"}
    words += sorted(new)
    if before.front != now.front:
        words.append(now.front)
    if before.back != now.back:
        words.append(now.back)
    return f"\x1b[{';'.join(words)}m" if now != PLAIN else "\x1b[m"


@lru_cache(512)
def blank(look: Look) -> Look:
    """What is seen of it where nothing is written."""
    seen = look.attributes & _SEEN_ON_BLANKS
    return look if seen else Look("39", look.back, frozenset())


@lru_cache(4096)
def _plain(text: str) -> bool:
    """Whether all terminals agree on how wide this is: a cell a character."""
    return text.isascii() or all(get_character_cell_size(char) == 1 for char in text)


@lru_cache(1024)
def _cells(text: str) -> tuple[str, ...]:
    """A character a cell, with what combines with it; an empty one where the one before it is wide."""
    cells: list[str] = []
    for char in text:
        width = get_character_cell_size(char)
        if width or not cells:
            cells += [char, *[""] * (width - 1)]
        else:
            at = next(index for index in range(len(cells) - 1, -1, -1) if cells[index])
            cells[at] += char
    if len(cells) != (width := cell_len(text)):  # together they are of another width
        cells = [text, *[""] * (width - 1)] if width else []
    return tuple(cells)


class Line:
    """A line's cells: characters, and looks. None is a cell that nothing is known of."""

    __slots__ = ("chars", "looks", "odd")

    def __init__(self, width: int) -> None:
        self.chars: list[str | None] = [None] * width
        self.looks: list[Look] = [PLAIN] * width
        self.odd = False
        """Whether something stands here that a terminal may see as wider or narrower."""

    def copy(self) -> Line:
        new = Line(0)
        new.chars, new.looks, new.odd = self.chars[:], self.looks[:], self.odd
        return new


class Frugal:
    """What was written so far, and what of more of it is new."""

    def __init__(self, *, terminal: str = "xterm") -> None:
        self._erases = not terminal.startswith(_NO_ERASING)
        self._lines: dict[int, Line] = {}
        self._before: dict[int, Line] = {}
        self._width = 1
        self._x = self._y = 0
        """Where the next text goes."""
        self._look = PLAIN
        self._real: tuple[int, int] | None = None
        """Where the terminal's cursor is, as far as that is known."""
        self._set: Look | None = None
        """What it writes in."""
        self._begun = False

    def forget(self) -> None:
        """Nothing that stands on the terminal is known."""
        self._lines.clear()
        self._before.clear()
        self._real = self._set = None

    def feed(self, data: str) -> str:
        """What to write in the place of ``data``, which is whole."""
        out: list[str] = []
        for token in _TOKENS.finditer(data):
            kind = token.lastgroup
            if kind == "column":
                self._x, self._y = int(token["column"]) - 1, int(token["row"]) - 1
            elif kind == "style":
                self._look = look_of(token["style"])
            elif kind == "text":
                self._put(token["text"])
            elif kind == "line":
                self._x, self._y = 0, self._y + 1
            elif kind == "frame":
                self._frame(token["frame"], out)
            elif kind == "aside":
                out.append(token["aside"])
            else:  # and all that is left with it
                self._flush(out)
                if self._set not in (None, PLAIN):
                    out.append("\x1b[m")
                out.append(data[token.start() :])
                self.forget()
                self._look = PLAIN
                return "".join(out)
        if not self._begun:
            self._flush(out)
        return "".join(out)

    def _frame(self, what: str, out: list[str]) -> None:
        if what == "h":
            self._begun = True
            return
        changes: list[str] = []
        self._flush(changes)
        self._begun = False
        out += ["\x1b[?2026h", *changes, "\x1b[?2026l"] if len(changes) > 1 else changes

    def _put(self, text: str) -> None:
        y, x, look = self._y, self._x, self._look
        line = self._lines.get(y)
        if y not in self._before:
            self._before[y] = line.copy() if line is not None else Line(0)
        if line is None:
            line = self._lines[y] = Line(0)
        cells: list[str | None] = [*text] if _plain(text) else [*_cells(text)]
        width = len(cells)
        end = x + width
        if line.odd:  # of a wide character that is written into, the other half goes too
            if 0 < x < len(line.chars) and line.chars[x] == "":
                line.chars[x - 1] = None
            if end < len(line.chars) and line.chars[end] == "":
                line.chars[end] = None
        line.odd = line.odd or width != len(text) or not all(cells)
        self._width = max(self._width, end)
        if (missing := end - len(line.chars)) > 0:
            line.chars += [None] * missing
            line.looks += [PLAIN] * missing
        line.chars[x:end] = cells
        line.looks[x:end] = [look] * width
        self._x = end

    def _flush(self, out: list[str]) -> None:
        before, self._before = self._before, {}
        for y in sorted(before):
            self._write(y, before[y], self._lines[y], out)
        # It stands where it was left, which tells an input method where one types.
        if out and self._real != (self._x, self._y):
            self._move(self._x, self._y, out)

    def _write(self, y: int, before: Line, now: Line, out: list[str]) -> None:
        if before.odd or now.odd:
            if before.chars != now.chars or before.looks != now.looks:
                self._whole(y, now, out)
            now.odd = any(char is not None and len(char) != 1 for char in now.chars)
            return
        was, looked = before.chars, before.looks
        missing = len(now.chars) - len(was)
        if missing:
            was, looked = [*was, *[None] * missing], [*looked, *[PLAIN] * missing]
        if was == now.chars and looked == now.looks:
            return
        start = -1
        end = 0
        for x, (char, look, old, past) in enumerate(zip(now.chars, now.looks, was, looked, strict=True)):
            if char == old and (look == past or (char == " " and blank(look) == blank(past))):
                continue
            if start >= 0 and x - end > _GAP:
                self._run(y, start, end, now, out)
                start = x
            elif start < 0:
                start = x
            end = x + 1
        if start >= 0:
            self._run(y, start, end, now, out)

    def _whole(self, y: int, now: Line, out: list[str]) -> None:
        """All that is known of the line, from one gap to the next."""
        start = -1
        for x, char in enumerate([*now.chars, None]):
            if char is None and start >= 0:
                self._run(y, start, x, now, out)
                # Who knows where the cursor is after what may be wider.
                self._real, start = None, -1
            elif char is not None and start < 0 and char:
                start = x

    def _run(self, y: int, start: int, end: int, line: Line, out: list[str]) -> None:
        self._move(start, y, out)
        chars, looks = line.chars, line.looks
        x = start
        while x < end:
            char, look = chars[x], looks[x]
            if char is None:  # what is not known cannot be written
                x += 1
                self._move(x, y, out)
                continue
            stop = x + 1
            while stop < end and looks[stop] == look and chars[stop] is not None:
                stop += 1
            text = "".join(chars[x:stop])  # type: ignore[arg-type]
            if not text.strip(" ") and self._set is not None and blank(self._set) == blank(look):
                look = self._set
            out.append(self._turn(look))
            self._text(text, out)
            x = stop
        self._real = (end, y) if end < self._width else None

    def _text(self, text: str, out: list[str]) -> None:
        look = self._set or PLAIN
        if not self._erases or look.attributes & _SEEN_ON_BLANKS:
            out.append(text)
            return
        for part in _BLANKS.split(text):
            if len(part) >= _BLANK and part.isspace():
                out.append(f"\x1b[{len(part)}X\x1b[{len(part)}C")
            else:
                out.append(part)

    def _turn(self, look: Look) -> str:
        before, self._set = self._set, look
        return turn(before, look) if before is not None else f"\x1b[m{turn(PLAIN, look)}"

    def _move(self, x: int, y: int, out: list[str]) -> None:
        if self._real == (x, y):
            return
        if self._real is not None and self._real[1] == y and x > self._real[0]:
            by = x - self._real[0]
            out.append(f"\x1b[{by}C" if by > 1 else "\x1b[C")
        else:
            out.append(f"\x1b[{y + 1};{x + 1}H")
        self._real = x, y
