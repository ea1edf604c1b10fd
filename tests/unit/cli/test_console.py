"""The console on a real terminal (a pty), against a real session server and a guest that echoes."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tui.world import World
from tests.unit.cli.conftest import ROOT, Hv

_NOHUP = ["sh", "-c", """trap '' HUP; exec "$0" "$@" """]


class OnTerminal:
    """``hv`` with a pty for a terminal."""

    def __init__(
        self,
        hv: Hv,
        *arguments: str,
        nohup: bool = False,
        program: tuple[str, ...] = ("-m", "hyperd.cli.main"),
    ) -> None:
        self._main, self._sub = pty.openpty()
        self._nohup, self._open, self._program = nohup, True, program
        self.before = termios.tcgetattr(self._sub)
        self._hv, self._arguments = hv, arguments
        self.screen = b""

    async def __aenter__(self) -> OnTerminal:
        self.process = await asyncio.create_subprocess_exec(
            *(_NOHUP if self._nohup else []), sys.executable, *self._program, *self._arguments,
            stdin=self._sub, stdout=self._sub, stderr=self._sub, env=self._hv.env, cwd=ROOT,
        )  # fmt: skip
        os.set_blocking(self._main, False)
        asyncio.get_running_loop().add_reader(self._main, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stand_still()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        if self._open:
            self.hang_up()

    def stand_still(self) -> None:
        """Read nothing any more, as a terminal that is scrolled back or behind a dead line."""
        asyncio.get_running_loop().remove_reader(self._main)

    def hang_up(self) -> None:
        """Close the terminal."""
        self.stand_still()
        os.close(self._main)
        os.close(self._sub)
        self._open = False

    def _read(self) -> None:
        with suppress(OSError):
            self.screen += os.read(self._main, 65536)

    def type(self, data: bytes) -> None:
        os.write(self._main, data)

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not met():
                await asyncio.sleep(0.02)

    async def shows(self, text: bytes) -> None:
        try:
            await self.until(lambda: text in self.screen)
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in {self.screen!r}") from None

    async def ends(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()

    def restored(self) -> bool:
        return termios.tcgetattr(self._sub) == self.before


async def test_typing_reaches_the_guest_and_the_escape_key_leaves(hv: Hv, world: World) -> None:
    async with OnTerminal(hv, "console", "web-7.shop") as terminal:
        await terminal.shows(b"Ctrl+] leaves")
        await terminal.shows(b"Linux version")
        terminal.type(b"root\r")
        await terminal.shows(b"web-7 login: ")
        terminal.type(b"\x03\x1d")
        assert await terminal.ends() == 0
        assert terminal.restored()
        assert world.guests["web-7"].typed == b"root\r\x03"


async def test_who_holds_it_is_named_before_anybody_is_thrown_out(hv: Hv, world: World) -> None:
    async with OnTerminal(hv, "console", "web-7.shop") as first:
        await first.shows(b"Linux version")
        async with OnTerminal(hv, "console", "web-7.shop") as second:
            await second.shows(b"Take it over? [y/N]")
            assert b"is held by you" in second.screen
            second.type(b"n")
            assert await second.ends() == 1
            await second.shows(b"--force takes it over")
            assert second.restored()
        first.type(b"still mine")
        await first.until(lambda: world.guests["web-7"].typed == b"still mine")
        refused = await hv("console", "web-7.shop", code=1)
        assert "is held by" in refused.err
        assert "--force takes it over" in refused.err
        async with OnTerminal(hv, "console", "web-7.shop") as third:
            await third.shows(b"Take it over? [y/N]")
            third.type(b"y")
            assert await first.ends() == 0
            await first.shows(b"The session ended")
            assert first.restored()
            await third.shows(b"Linux version")
            async with OnTerminal(hv, "console", "web-7.shop", "--force") as fourth:
                await fourth.shows(b"Linux version")
                assert await third.ends() == 0


async def test_the_escape_key_leaves_while_the_guest_floods(hv: Hv, world: World) -> None:
    async with OnTerminal(hv, "console", "web-7.shop") as terminal:
        await terminal.shows(b"Linux version")
        flood = asyncio.create_task(_flood(world))
        await terminal.until(lambda: len(terminal.screen) > 1 << 20)
        terminal.type(b"\x1d")
        assert await terminal.ends() == 0
        assert terminal.restored()
        flood.cancel()


@pytest.mark.parametrize("arguments", [("console", "web-7.shop"), ("log", "web-7.shop", "-f")])
async def test_it_can_be_left_on_a_terminal_that_stands_still(
    hv: Hv, world: World, arguments: tuple[str, ...]
) -> None:
    async with OnTerminal(hv, *arguments) as terminal:
        await terminal.shows(b"Linux version")
        terminal.stand_still()
        flood = asyncio.create_task(_flood(world))
        await asyncio.sleep(1)
        if arguments[0] == "console":
            terminal.type(b"ls\x1d")
        else:
            terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ends() in (0, 130)
        flood.cancel()
        assert terminal.restored()


_TALKS = (
    "import sys; import hyperd.cli.main as m;"
    "m._run = lambda _: [print('y') for _ in iter(int, 1)];"
    "sys.exit(m.main())"
)


async def test_what_a_disk_holds_is_not_written_to_a_terminal(hv: Hv) -> None:
    async with OnTerminal(hv, "disk", "export", "vd/web-7-root", "-o", "-") as terminal:
        await terminal.until(lambda: b"not for a terminal" in terminal.screen)


async def test_ctrl_c_is_obeyed_where_the_last_words_do_not_fit(hv: Hv) -> None:
    """What Python still holds at Ctrl+C is less than a write's worth here, and would be written at the end."""
    async with OnTerminal(hv, program=("-c", _TALKS)) as terminal:
        await terminal.shows(b"y")
        terminal.stand_still()
        await terminal.until(lambda: waits_for_the_terminal(terminal.process.pid))
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ends() == 130


def waits_for_the_terminal(pid: int) -> bool:
    return Path(f"/proc/{pid}/wchan").read_text() == "wait_woken"


async def test_a_log_is_shown_as_the_guest_drew_it_and_asks_the_terminal_nothing(hv: Hv, world: World) -> None:
    drawn = b"\x1b[2J\x1b[1;31mred\x1b[0m\x1b[6n\x1b[c\x1b]11;?\x07\x1b[?1000h\x1b[?1049h"
    log = next(world.settings.console_log_dir.glob(f"{world.uids['web-7']}.log"))
    with log.open("ab") as file:
        file.write(drawn + b"END")
    async with OnTerminal(hv, "log", "web-7.shop", "--raw", "-f") as terminal:
        await terminal.shows(b"END")
        assert terminal.screen.endswith(b"\x1b[2J\x1b[1;31mred\x1b[0m\x1b[?1049hEND")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ends() == 130
        assert b"\x1b[?1049l" in terminal.screen
        assert terminal.restored()
    piped = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hyperd.cli.main", "log", "web-7.shop",
        stdout=asyncio.subprocess.PIPE, env=hv.env, cwd=ROOT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(piped.communicate(), 20)
    assert out.endswith(drawn + b"END")


async def test_a_guest_that_takes_no_input_does_not_keep_the_keys(hv: Hv, world: World) -> None:
    async with OnTerminal(hv, "console", "web-7.shop") as terminal:
        await terminal.shows(b"Linux version")
        world.guests["web-7"].deaf.set()
        for _ in range(600):
            with suppress(BlockingIOError):
                terminal.type(b"x" * 4096)
            await asyncio.sleep(0.002)
        async with asyncio.timeout(10):
            while True:
                with suppress(BlockingIOError):
                    terminal.type(b"\x1d\r")
                    break
                await asyncio.sleep(0.02)
        assert await terminal.ends() == 0


async def test_the_terminal_is_as_it_was_whatever_the_guest_switched_on(hv: Hv, world: World) -> None:
    async with OnTerminal(hv, "console", "web-7.shop") as terminal:
        await terminal.shows(b"Linux version")
        world.guests["web-7"].say(
            b"\x1b[?1049h\x1b[?1h\x1b=\x1b[5;10r\x1b[?6h\x1b(0\x1b[?7l\x1b[?25l\x1b[?1003;1006h\x1b[?1004h"
            b"\x1b[?2004h\x1b[>4;2m\x1b[>1u\x1b[4 q\x1b[31mEND"
        )
        await terminal.shows(b"END")
        terminal.type(b"\x1d")
        assert await terminal.ends() == 0
        _, _, end = terminal.screen.partition(b"END")
        for undone in (
            b"[?1049l", b"[?1l", b"\x1b>", b"\x1b[r", b"[?6l", b"\x1b(B", b"[?7h", b"[?25h", b"[?1003l",
            b"[?1006l", b"[?1004l", b"[?2004l", b"[>4m", b"[<9u", b"[0 q", b"[0m",
        ):  # fmt: skip
            assert undone in end, undone


async def test_a_terminal_that_is_gone_ends_it(hv: Hv) -> None:
    async with OnTerminal(hv, "console", "web-7.shop", nohup=True) as terminal:
        await terminal.shows(b"Linux version")
        terminal.hang_up()
        await terminal.ends()


async def _flood(world: World) -> None:
    guest = world.guests["web-7"]
    log = next(world.settings.console_log_dir.glob(f"{world.uids['web-7']}.log"))
    with log.open("ab") as file:
        while True:
            file.write(b"y\r\n" * 20000)
            file.flush()
            guest.say(b"y\r\n" * 20000)
            for writer in guest.lines:
                await writer.drain()
            await asyncio.sleep(0)


async def test_it_waits_until_the_machine_runs(hv: Hv, world: World) -> None:
    await world.set_status("virtualmachines", "shop", "web-7", {"phase": "Starting"})
    async with OnTerminal(hv, "console", "web-7.shop") as terminal:
        await terminal.shows(b"is not Running")
        await world.set_status("virtualmachines", "shop", "web-7", {"phase": "Running"})
        await terminal.shows(b"Linux version")
        terminal.type(b"\x1d")
        assert await terminal.ends() == 0


async def test_it_survives_a_restart_of_the_daemon(hv: Hv, world: World) -> None:
    async with OnTerminal(hv, "console", "web-7.shop", "--escape", "~.") as terminal:
        await terminal.shows(b"Linux version")
        await world.stop()
        await terminal.shows(b"connecting again")
        await world.start()
        await terminal.shows(b"Connected again.")
        terminal.type(b"\r")
        await terminal.shows(b"web-7 login: ")
        terminal.type(b"\r~.")
        assert await terminal.ends() == 0
        assert terminal.restored()


async def test_a_machine_that_is_not_there_ends_it(hv: Hv) -> None:
    async with OnTerminal(hv, "console", "nobody") as terminal:
        assert await terminal.ends() == 1
        await terminal.shows(b"hv: ")
        assert terminal.restored()
