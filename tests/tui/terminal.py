"""A program on a pty whose screen is kept by an emulator."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tui.widgets.emulator import AvtEmulator

ROOT = Path(__file__).parents[2]
_NOHUP = ["sh", "-c", """trap '' HUP; exec "$0" "$@" """]


class Screen:
    """``hv`` with a pty of 120 columns and 40 rows for a terminal."""

    def __init__(self, env: Mapping[str, str], *arguments: str, nohup: bool = False) -> None:
        self._main, self._sub = pty.openpty()
        fcntl.ioctl(self._sub, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.before = termios.tcgetattr(self._sub)
        self._env, self._arguments, self._nohup = {**env, "TERM": "xterm-256color"}, arguments, nohup
        self._emulator = AvtEmulator(120, 40)
        self.written = b""

    async def __aenter__(self) -> Screen:
        self.process = await asyncio.create_subprocess_exec(
            *(_NOHUP if self._nohup else []), sys.executable, "-m", "hyperd.cli.main", *self._arguments,
            stdin=self._sub, stdout=self._sub, stderr=self._sub, env=self._env, cwd=ROOT,
        )  # fmt: skip
        os.set_blocking(self._main, False)
        asyncio.get_running_loop().add_reader(self._main, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.hang_up()

    def _read(self) -> None:
        with suppress(OSError):
            data = os.read(self._main, 65536)
            self.written += data
            self._emulator.feed(data)
            self._emulator.take_scrolled()

    @property
    def text(self) -> str:
        lines = (self._emulator.line(y) for y in range(40))
        return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)

    async def type(self, data: bytes) -> None:
        """Send keys as fast as the program takes them."""
        while data:
            try:
                data = data[os.write(self._main, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.01)

    async def until(self, met: Callable[[], bool], seconds: float = 20) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not met():
                    assert self.process.returncode is None, self.text
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(self.text) from None

    async def shows(self, text: str, seconds: float = 20) -> None:
        await self.until(lambda: text in self.text, seconds)

    async def ends(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()

    def hang_up(self) -> None:
        """Close the terminal."""
        if self._main >= 0:
            asyncio.get_running_loop().remove_reader(self._main)
            os.close(self._main)
            os.close(self._sub)
            self._main = -1

    def restored(self) -> bool:
        return termios.tcgetattr(self._sub) == self.before
