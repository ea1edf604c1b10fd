"""What a guest prints: redrawn, shown by the emulator, and as text, it asks nothing of anybody's terminal."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.client import sanitize
from hyperd.client.display import Display
from hyperd.client.plain import PlainText
from hyperd.hypervisor.console import screen as console_screen
from hyperd.hypervisor.console.redraw import Screen
from hyperd.hypervisor.console.screen import Size
from hyperd.terminalbytes import Tame
from tests.unit.terminal.corpus import lines, outputs
from tui.widgets.emulator import AvtEmulator

OUTPUTS = outputs()
SIZE = Size(100, 30)
_ALLOWED = re.compile(
    r"\x1b\[(?:[\d;]*m|\d+A|\d+C|\d*;?\d*H|2J|\?(?:1|7|25|1049|2004)[hl])|[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_BEGUN = re.compile(r"\x1b?(?:\[[\d;?]*)?\Z|\x9b[\d;?]*\Z")
"""A sequence that the guest has not ended stays begun: what follows is its end."""
_SLICE_SECONDS = 0.25


def shown(data: bytes) -> tuple[list[str], tuple[int, int, bool], bool]:
    """The screen's text, the cursor, and whether cursor keys are the application's."""
    emulator = AvtEmulator(SIZE.columns, SIZE.rows)
    emulator.feed(data)
    lines = ["".join(text for text, _ in emulator.line(y)).rstrip() for y in range(SIZE.rows)]
    return lines, emulator.cursor, emulator.app_cursor


def asks_nothing(drawn: bytes) -> str:
    """What of ``drawn`` is neither text nor one of the few sequences that a redraw needs."""
    return _BEGUN.sub("", _ALLOWED.sub("", drawn.decode("utf-8", "ignore")))


@pytest.mark.loop_seconds(10, "the original is drawn by the test, all at once")
@pytest.mark.parametrize("name", OUTPUTS)
async def test_a_redraw_looks_like_the_original_and_asks_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_screen, "_SECONDS", 60)  # on a busy host a process may take long to begin
    past = OUTPUTS[name][-(256 << 10) :]
    drawn = await console_screen.redraw(past, SIZE, 65536)
    assert asks_nothing(drawn) == ""
    assert shown(drawn)[0] == shown(past)[0]
    assert shown(drawn)[1:] == shown(past)[1:]
    emulator = AvtEmulator(SIZE.columns, SIZE.rows)
    emulator.feed(drawn)
    assert emulator.take_replies() == b""


async def test_a_redraw_keeps_colours_modes_and_the_lines_above() -> None:
    drawn = await console_screen.redraw(OUTPUTS["colours"], SIZE, 65536)
    emulators = AvtEmulator(SIZE.columns, SIZE.rows), AvtEmulator(SIZE.columns, SIZE.rows)
    for emulator, data in zip(emulators, (OUTPUTS["colours"], drawn), strict=True):
        emulator.feed(data)
    for y in range(3):
        assert emulators[0].line(y) == emulators[1].line(y)
    drawn = await console_screen.redraw(OUTPUTS["paste-mode-and-hidden-cursor"], SIZE, 65536)
    assert drawn.endswith(b"\x1b[?2004h\x1b[?25l")
    lines = (await console_screen.redraw(OUTPUTS["long-history"], SIZE, 4096)).decode()
    assert "login:" in lines
    assert "line 299" in lines
    assert "line 3\x1b" not in lines
    assert len(lines) < 4096 + 100 * 30


async def test_an_emulator_that_fails_leaves_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_screen, "__name__", "hyperd.hypervisor.console_screen_that_is_not_there")
    drawn = await console_screen.redraw(b"one \x1b[31mtwo\x1b[6n\r\nthree\x1b]0;x\x07", SIZE, 65536)
    assert drawn == b"one two\r\nthree"


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_text_that_is_left_asks_nothing(name: str) -> None:
    assert asks_nothing(console_screen.plain(OUTPUTS[name])) == ""


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_emulators_cost_is_bounded(name: str) -> None:
    data = OUTPUTS[name]
    emulator = AvtEmulator(SIZE.columns, SIZE.rows)
    for start in range(0, len(data), 4096):
        began = time.thread_time()
        emulator.feed(data[start : start + 4096])
        emulator.take_scrolled()
        assert time.thread_time() - began < _SLICE_SECONDS
    for y in range(SIZE.rows):
        assert not any(sanitize.hostile(char) for text, _ in emulator.line(y) for char in text)


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("step", [1, 7, 65536])
def test_plain_text_holds_nothing_that_a_terminal_obeys(name: str, step: int) -> None:
    data, plain = OUTPUTS[name][: 4096 if step == 1 else None], PlainText()
    began = time.thread_time()
    text = "".join(plain.feed(data[at : at + step]) for at in range(0, len(data), step))
    assert not any(sanitize.hostile(char) for char in text if char not in "\t\n")
    assert time.thread_time() - began < 20 * _SLICE_SECONDS


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("utf8", [True, False])
def test_what_is_shown_of_it_asks_nothing_in_whatever_pieces_it_comes(name: str, utf8: bool) -> None:
    data = OUTPUTS[name][:4096]
    at_once, display = Display(utf8=utf8).feed(data), Display(utf8=utf8)
    assert b"".join(display.feed(data[at : at + 1]) for at in range(len(data))) == at_once
    assert Display(utf8=utf8).feed(at_once) == at_once
    emulator = AvtEmulator(SIZE.columns, SIZE.rows)
    emulator.feed(at_once)
    assert emulator.take_replies() == b""


@pytest.mark.parametrize("data", lines("shows"), ids=ascii)
def test_what_displays_is_shown_as_it_came(data: str) -> None:
    assert Display().feed(data.encode()) == data.encode()


@pytest.mark.parametrize("data", lines("asks"), ids=ascii)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_what_makes_a_terminal_say_something_is_left_out(data: str, encoding: str) -> None:
    shown = Display(utf8=encoding == "utf-8").feed(data.encode(encoding) + b"\x1b[6n")
    assert not any(byte in shown for byte in (b"\x1b", b"\x9b", b"\x05"))


_PIECES = st.sampled_from(
    ["\x1b", "[", "\x9b", "6", "65535", "512", ";", "b", "x", "\x7f", "\x00", "m", "?", " ", "\x1b[6n", "H", "é"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=40), st.integers(1, 9))
def test_taming_takes_only_repeats_away(pieces: list[str], step: int) -> None:
    text = "".join(pieces)
    tame = Tame()
    tamed = "".join(tame.feed(text[at : at + step]) for at in range(0, len(text), step)) + tame.held
    if "b" not in text:
        assert tamed == text.replace("\x7f", "")
    began = time.thread_time()
    Screen(100, 30).feed(text * 20)
    assert time.thread_time() - began < _SLICE_SECONDS
