"""What is written in the place of what Textual writes leaves the same screen, and is less."""

from __future__ import annotations

import random

import pytest

from tui.frugal import Frugal
from tui.widgets.emulator import AvtEmulator

COLUMNS, ROWS = 40, 8
STYLES = (
    "38;5;253;48;5;233", "1;38;5;253;48;5;233", "38;2;1;2;3;48;5;23", "9;38;5;246", "1;4;31;47", "2;39;49", "7",
    "", "91;104", "3;1;38;5;9",
)  # fmt: skip
WORDS = ("web-7", " " * 14, "● Running", "▌ ", "10.66.0.1", "日本", "x", "  ", "👍", "─────", "é")


def screens(*written: str) -> list[object]:
    """What an emulator shows of it, with its looks."""
    emulator = AvtEmulator(COLUMNS, ROWS)
    emulator.feed(b"\x1b[?7l")  # as Textual has it
    for data in written:
        emulator.feed(data.encode())
    return [_cells(emulator, row) for row in range(ROWS)]


def _cells(emulator: AvtEmulator, row: int) -> list[tuple[str, str]]:
    """A blank's colour in front is nobody's business."""
    found = []
    for text, style in emulator.line(row):
        for char in text:
            seen = style.underline or style.strike or style.reverse
            look = str(style) if char != " " or seen else str(style.bgcolor)
            found.append((char, look))
    return found


def frame(chance: random.Random, words: tuple[str, ...] = WORDS) -> str:
    """Some lines, each from some column on, as Textual's compositor writes them."""
    out = ["\x1b[?2026h"]
    for row in chance.sample(range(ROWS), chance.randint(1, ROWS)):
        at = chance.choice((0, 0, 7))
        out.append(f"\x1b[{row + 1};{at + 1}H")
        left = COLUMNS - at
        while left > 0 and chance.random() < 0.95:
            text = chance.choice(words)
            width = {"日本": 4, "👍": 2}.get(text, len(text))
            if width > left:
                text, width = " " * left, left
            style = chance.choice(STYLES)
            out.append(f"\x1b[{style}m{text}\x1b[0m" if style else text)
            left -= width
        if row + 1 < ROWS:
            out.append("\n")
    return "".join([*out, f"\x1b[{chance.randint(1, ROWS)};2H", "\x1b[?2026l"])


@pytest.mark.parametrize("seed", range(40))
def test_the_screen_is_what_was_written(seed: int) -> None:
    chance = random.Random(seed)
    frugal, raw, spare = Frugal(), list[str](), list[str]()
    for _ in range(12):
        data = (
            chance.choice(("\x1b[?1049h\x1b[2J", "\x1b]0;title\x07")) if chance.random() < 0.1 else frame(chance)
        )
        raw.append(data)
        spare.append(frugal.feed(data))
        assert screens(*spare) == screens(*raw), (seed, data, spare[-1])


@pytest.mark.parametrize("odd", ["e\u0301", "\u200b", "👩\u200d🚀", "☎\ufe0f", "\u202e"])
def test_a_line_whose_width_is_in_doubt_is_written_whole(odd: str) -> None:
    frugal = Frugal()
    frugal.feed(f"\x1b[2;1H{odd} web-7 Running")
    assert "web-7 Stopped" in frugal.feed(f"\x1b[2;1H{odd} web-7 Stopped")
    frugal.feed("\x1b[2;1Hdb-1   web-7 Stopped ")
    assert len(frugal.feed("\x1b[2;1Hdb-2   web-7 Stopped ")) < 14


def test_what_stands_there_is_not_written_again() -> None:
    frugal, line = Frugal(), "\x1b[3;1H\x1b[1;38;5;253;48;5;23mweb-7      ● Running\x1b[0m\n\x1b[1;2H"
    first = frugal.feed(f"\x1b[?2026h{line}\x1b[?2026l")
    assert "web-7      ● Running" in first
    assert frugal.feed(f"\x1b[?2026h{line}\x1b[?2026l") == ""
    changed = frugal.feed(line.replace("7 ", "8 "))
    assert "8" in changed
    assert "web" not in changed
    assert "Running" not in changed
    frugal.forget()
    assert "web-7      ● Running" in frugal.feed(line)


@pytest.mark.parametrize(
    "unknown",
    ["\x1b[2J", "\x1b[?1049l", "\x1b_Gi=1;AAAA\x1b\\", "\x1bP0;1q#0~~\x1b\\", "\x1b[4b", "\x1bc", "\x9b2J"],
)
def test_what_is_not_understood_passes_and_nothing_is_known_after_it(unknown: str) -> None:
    frugal, line = Frugal(), "\x1b[3;1Hweb-7"
    frugal.feed(line)
    assert frugal.feed(unknown).endswith(unknown)
    assert "web-7" in frugal.feed(line)


def test_a_terminal_is_left_in_its_own_colours() -> None:
    frugal = Frugal()
    frugal.feed("\x1b[3;1H\x1b[31;44mweb-7\x1b[0m")
    assert frugal.feed("\x1b[?1049l") == "\x1b[m\x1b[?1049l"


def test_a_terminal_that_erases_in_another_colour_gets_blanks() -> None:
    data = f"\x1b[1;1H\x1b[48;5;23m{' ' * 30}\x1b[0m"
    assert " " * 30 in Frugal(terminal="screen-256color").feed(data)
    assert "\x1b[30X" in Frugal(terminal="xterm-256color").feed(data)
