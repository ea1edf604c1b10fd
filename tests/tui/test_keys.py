"""What a terminal may send never ends the program; a terminal that is gone does."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual import events

from tests.tui.terminal import Screen
from tests.tui.world import World
from tests.unit.cli.conftest import environment
from tests.unit.terminal.corpus import keys
from tui.driver import KeyReader
from tui.widgets.keys import encode

KEYS = keys()
REST_SECONDS = 20.0
"""What was typed ahead is worked off by then."""
UNDONE = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?1003l", b"\x1b[?2004l", b"\x1b[?1004l")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def busy(pid: int) -> float:
    """The share of a processor that a process takes for two seconds."""
    before, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(2)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


async def test_no_key_file_ends_the_terminal_interface(world: World) -> None:
    async with Screen(environment(world), "tui") as screen:
        await screen.shows("web-7")
        for name, data in KEYS.items():
            # Neither what quits nor what hands the terminal to a guest.
            await screen.type(data.translate(None, b"qC:"))
            await asyncio.sleep(0.15)
            await screen.type(b"\x1b[201~\x1b")
            for _ in range(4):
                await asyncio.sleep(0.12)
                await screen.type(b"\x1b")
            assert screen.process.returncode is None, (name, screen.process.returncode, screen.text)
        for _ in range(3):
            await asyncio.sleep(0.4)
            await screen.type(b"\x1b")
        assert screen.process.returncode is None, (screen.process.returncode, screen.text)
        until = time.monotonic() + REST_SECONDS
        while await busy(screen.process.pid) > 0.5:
            assert time.monotonic() < until, "it works on without a key"
        await screen.type(b"q")
        try:
            assert await screen.ends() == 0
        except TimeoutError:
            raise AssertionError(screen.text) from None
        assert screen.restored()
        assert all(sequence in screen.written for sequence in UNDONE)
        assert b"Traceback" not in screen.written


@pytest.mark.parametrize("command", [("tui", "web-7"), ("console", "web-7.shop")])
async def test_no_key_file_keeps_a_console_from_being_left(world: World, command: tuple[str, str]) -> None:
    async with Screen(environment(world), *command) as screen:
        if command[0] == "tui":
            await screen.shows("web-7")
            await screen.type(b"c")
            await screen.shows("keys go to the guest")
        else:
            await screen.shows("leaves, pressed twice")
        for name, data in KEYS.items():
            if command[0] == "tui" and "mouse" in name:
                continue  # a click elsewhere takes the keys there
            await screen.type(data)
            await asyncio.sleep(0.1)
            if "paste" in name:
                await screen.type(b"\x1b[201~")
            assert screen.process.returncode is None, (name, screen.text)
        await screen.type(b"THEEND")
        await screen.until(lambda: b"THEEND" in world.guests["web-7"].typed)
        await screen.type(b"\x1d")
        if command[0] == "tui":
            await screen.shows("Esc lists")
            await screen.type(b"q")
            await screen.shows("? help")
            await screen.type(b"q")
        assert await screen.ends() == 0
        assert screen.restored()
        assert b"Traceback" not in screen.written


async def test_a_flooding_guest_does_not_keep_the_keys(world: World) -> None:
    async with Screen(environment(world), "tui", "web-7") as screen:
        await screen.shows("web-7")
        await screen.type(b"c")
        await screen.shows("keys go to the guest")
        guest = world.guests["web-7"]

        async def flood() -> None:
            while True:
                guest.say(b"y\r\n" * 20000)
                for writer in guest.lines:
                    await writer.drain()
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(1)
        await screen.type(b"\x1d")
        await screen.shows("Esc lists", 10)
        await screen.type(b"q")
        await screen.shows("? help", 10)
        flooding.cancel()
        await screen.type(b"q")
        assert await screen.ends() == 0


@pytest.mark.parametrize("command", [("tui",), ("console", "web-7.shop")])
async def test_a_terminal_that_is_gone_ends_it(world: World, command: tuple[str, ...]) -> None:
    async with Screen(environment(world), *command, nohup=True) as screen:
        await screen.shows("web-7")
        await asyncio.sleep(0.5)
        screen.hang_up()
        await screen.ends()


@pytest.mark.parametrize("command", [("tui",), ("console", "web-7.shop")])
async def test_ended_from_outside_it_gives_the_terminal_back(world: World, command: tuple[str, ...]) -> None:
    async with Screen(environment(world), *command) as screen:
        await screen.shows("web-7")
        await asyncio.sleep(0.5)
        screen.process.send_signal(signal.SIGTERM)
        assert await screen.ends() == 128 + signal.SIGTERM
        assert screen.restored()


def test_a_paste_without_an_end_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("tui.driver._LONGEST_PASTE", 1024)
    monkeypatch.setattr("tui.driver.time.monotonic", lambda: clock[0])
    reader = KeyReader()
    reader.read(b"\x1b[200~half a paste")
    assert reader.read(None) == []
    clock[0] += 10
    assert [type(message) for message in reader.read(None)] == [events.Paste]
    assert [message.key for message in reader.read(b"q") if isinstance(message, events.Key)] == ["q"]
    reader.read(b"\x1b[20")
    reader.read(b"0~" + b"x" * 2048)
    assert [message.key for message in reader.read(b"q") if isinstance(message, events.Key)] == ["q"]


_PARTS = st.sampled_from(
    [b"\x1b", b"[", b"M", b"<", b"0;", b";", b"99999999999", b"u", b"~", b"\xc3", b"j", b"\xf8", b"\xff", b"\x00",
     b"200~", b"t", b"48;", b"O", b"]", b"R", b"c", b":", b"\xd0\xbf", b"1114112", b"55296", b"-", b"$y"]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(_PARTS, max_size=12).map(b"".join), max_size=6))
def test_the_next_key_is_heard_whatever_came_before(pieces: list[bytes]) -> None:
    reader = KeyReader()
    for piece in pieces:
        reader.read(piece)
    reader.read(b"\x1b[201~")
    reader._parser = type(reader._parser)(False) if reader._parser.is_eof else reader._parser
    for _ in range(3):
        reader.read(b" " * 40)
    assert any(isinstance(message, events.Key) and message.key == "z" for message in reader.read(b"z"))


@pytest.mark.parametrize("cut", range(1, 22))
def test_what_the_terminal_answers_is_no_key(cut: int) -> None:
    answer, told = b"\x1b_Gi=31;OK\x1b\\\x1b[?62;4c", list[str]()
    reader = KeyReader()
    reader.expect(told.append)
    found = reader.read(answer[:cut]) + reader.read(answer[cut:]) + reader.read(b"z")
    assert told == ["kitty"]
    assert [message.key for message in found if isinstance(message, events.Key)] == ["z"]


def test_the_keys_of_a_keyboard_reach_the_guest_as_they_were_typed() -> None:
    typed = [
        b"\r", b"\t", b"\x1b[Z", b"\x7f", b"\x08", b" ", b"\x00", b"\x01", b"\x03", b"\x1a", b"\x1c", b"\x1f",
        b"\x1b[A", b"\x1b[1;5A", b"\x1b[1;3D", b"\x1b[H", b"\x1b[F", b"\x1b[2~", b"\x1b[3~", b"\x1b[5~",
        b"\x1b[6~", b"\x1b[3;5~", b"\x1bOP", b"\x1b[1;2P", b"\x1b[15~", b"\x1b[15;5~", b"\x1b[24~", b"\x1b[24;2~",
        b"\x1bx",
        b"\x1b\r", b"\x1b\x7f", "ü".encode(), b"a", b"A", b"~",
    ]  # fmt: skip
    for pressed in typed:
        reader = KeyReader()
        messages = reader.read(pressed)
        if not messages:  # an escape is waited for a moment
            time.sleep(0.15)
            messages = reader.read(None)
        found = [message for message in messages if isinstance(message, events.Key)]
        sent = "".join(encode(key.key, key.character, app_cursor=False) for key in found).encode()
        assert sent == pressed, (pressed, found)
    # Shift+F3 looks like an answer to where the cursor is, which nobody asks.
    (shifted,) = (message for message in KeyReader().read(b"\x1b[1;2R") if isinstance(message, events.Key))
    assert encode(shifted.key, shifted.character, app_cursor=False) == "\x1b[1;2R"
