"""The console on a real terminal (a pty), against a real session server and a guest that echoes."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

from tests.tui.world import World
from tests.unit.cli.conftest import ROOT, Hv


class OnTerminal:
    """``hv`` with a pty for a terminal."""

    def __init__(self, hv: Hv, *arguments: str) -> None:
        self._main, self._sub = pty.openpty()
        self.before = termios.tcgetattr(self._sub)
        self._hv, self._arguments = hv, arguments
        self.screen = b""

    async def __aenter__(self) -> OnTerminal:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hyperd.cli.main", *self._arguments,
            stdin=self._sub, stdout=self._sub, stderr=self._sub, env=self._hv.env, cwd=ROOT,
        )  # fmt: skip
        os.set_blocking(self._main, False)
        asyncio.get_running_loop().add_reader(self._main, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._main)
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        os.close(self._main)
        os.close(self._sub)

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


async def test_who_is_displaced_is_told_and_ends_well(hv: Hv) -> None:
    async with OnTerminal(hv, "console", "web-7.shop") as first:
        await first.shows(b"Linux version")
        async with OnTerminal(hv, "console", "web-7.shop") as second:
            assert await first.ends() == 0
            await first.shows(b"The session ended")
            assert first.restored()
            await second.shows(b"Linux version")


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
        terminal.type(b"\r")
        await asyncio.sleep(2.5)  # the client's own pause before it comes again
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
