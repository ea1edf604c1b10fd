"""What the UI costs a slow line: bytes written to the terminal, counted at the driver."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator

import pytest

from tests.tui.world import World, machine
from tests.unit.cli.conftest import ROOT, environment

_MACHINES = 200
_PHASES = ("Stopped", "Running", "Pending", "Degraded")
_QUERY = re.compile(rb"\x1b\[\?(2026|2048)\$p")


class Screen:
    """``hv tui`` on a pty of 160x45; counts what it writes."""

    def __init__(self, main: int) -> None:
        self._main = main
        self.written = b""

    def read(self) -> None:
        data = os.read(self._main, 1 << 16)
        self.written += data
        for mode in _QUERY.findall(data):
            os.write(self._main, b"\x1b[?%s;2$y" % mode)

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(30):
            while text not in self.written:
                await asyncio.sleep(0.02)

    async def quiet(self) -> None:
        """Until nothing was written for a while."""
        before = -1
        while before != len(self.written):
            before = len(self.written)
            await asyncio.sleep(0.4)

    async def cost_of(self, keys: bytes) -> int:
        before = len(self.written)
        os.write(self._main, keys)
        await self.quiet()
        return len(self.written) - before

    async def least_of(self, keys: bytes) -> int:
        """What the keys cost without what the screen writes by itself, the node's load in the header say."""
        return min([await self.cost_of(keys) for _ in range(3)])


@pytest.fixture
async def screen(empty_world: World) -> AsyncIterator[Screen]:
    for number in range(_MACHINES):
        made = machine(f"vm-{number * 7919 % 1000:03}")
        made["spec"] |= {"cpu": {"cores": number % 15 + 1}, "memory": {"size": f"{number % 63 + 1}Gi"}}
        status = {
            "phase": _PHASES[number % 4],
            "ipAddress": f"10.0.{number % 7}.{number}",
            "nodeName": f"n{number % 4}",
        }
        await empty_world.add("virtualmachines", made, status)
    main, sub = pty.openpty()
    fcntl.ioctl(sub, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 160, 0, 0))
    env = {**environment(empty_world), "TERM": "xterm-256color", "COLORTERM": ""}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hyperd.cli.main", "tui", stdin=sub, stdout=sub, stderr=sub, env=env, cwd=ROOT
    )
    running = Screen(main)
    loop = asyncio.get_running_loop()
    loop.add_reader(main, running.read)
    try:
        await running.until(b"vm-00")
        await running.quiet()
        yield running
    finally:
        loop.remove_reader(main)
        process.terminate()
        await process.wait()
        os.close(main)
        os.close(sub)


async def test_keys_and_idling_stay_within_the_byte_budget(screen: Screen) -> None:
    await screen.cost_of(b"jj")
    assert await screen.least_of(b"j") <= 600, "a cursor key with the detail open"
    assert await screen.least_of(b"\x1b[6~") <= 4_000, "a page of 41 rows beside the detail"
    await screen.cost_of(b"\x1b")
    await screen.cost_of(b"gj")
    assert await screen.least_of(b"j") <= 600, "a cursor key"
    assert await screen.least_of(b"\x1b[6~") <= 4_000, "a page of 41 rows"
    before = len(screen.written)
    await asyncio.sleep(3)
    assert len(screen.written) - before <= 1_000
    assert await screen.cost_of(b"\x0c") > 2_000, "all of it anew"
