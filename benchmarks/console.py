"""What a console costs: the emulator of the terminal UI, and a typed character there beside a raw attach.

The emulator's figure is CPU of this process on two kinds of output; its goal is 50 MB/s. An echo is the time from
a key on the terminal to what the guest answers on it, of `hv tui` beside `hv console`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from benchmarks.report import report
from tests.tui.terminal import Screen
from tests.tui.world import World, populate, serving, short_folder
from tests.unit.cli.conftest import environment
from tui.widgets.emulator import AvtEmulator

_SLICE = 2048
_ROUNDS = 5
_KEYS = 40
_GOAL = 50.0
_LINES = 20_000
OUTPUT = {
    "boot": b"".join(
        b"[%5d.%06d] systemd[1]: \x1b[0;1;39mStarting unit %d\x1b[0m - \x1b[32mok\x1b[0m...\r\n" % (n // 99, n, n)
        for n in range(_LINES)
    ),
    "kernel": b"".join(
        b"[%5d.%06d] pci 0000:00:%02x.0: [8086:29c0] type 00 class 0x060000 conventional PCI endpoint\r\n"
        % (n // 99, n, n % 32)
        for n in range(_LINES)
    ),
}


def throughput(data: bytes) -> float:
    """Megabytes in a second of CPU, as the terminal feeds them; the best of some rounds."""
    best = 0.0
    for _ in range(_ROUNDS):
        emulator, began = AvtEmulator(160, 45), time.process_time()
        for at in range(0, len(data), _SLICE):
            emulator.feed(data[at : at + _SLICE])
            emulator.take_replies()
            emulator.take_scrolled()
        best = max(best, len(data) / (time.process_time() - began) / 1e6)
    return best


async def echo(screen: Screen, ready: Callable[[], Awaitable[None]]) -> float:
    """Milliseconds from a key to its letter on the terminal: the median."""
    await ready()
    found = []
    for number in range(_KEYS):
        letter = chr(ord("A") + number % 26).encode()
        before, began = len(screen.written), time.monotonic()
        await screen.type(letter)
        while letter not in screen.written[before:]:
            await asyncio.sleep(0)
        found.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(0.05)
    return statistics.median(found)


async def echoes(world: World) -> tuple[float, float]:
    """Of the terminal UI, and of a raw attach."""
    async with Screen(environment(world), "tui", "web-7") as screen:

        async def opened() -> None:
            await screen.shows("web-7")
            await screen.type(b"c")
            await screen.shows("keys go to the guest")

        ours = await echo(screen, opened)
    async with Screen(environment(world), "console", "web-7.shop") as screen:
        return ours, await echo(screen, lambda: screen.shows("leaves, pressed twice"))


async def main() -> int:
    """Print the figures; 1 when a goal is missed."""
    fine = True
    for name, data in OUTPUT.items():
        rate = throughput(data)
        report(f"console_emulator_{name}", rate, "MB/s of CPU", goal=f"at least {_GOAL:g}", ok=rate >= _GOAL)
        fine = fine and rate >= _GOAL
    with short_folder() as folder:
        async with serving(folder) as world:
            await populate(world)
            ours, raw = await echoes(world)
    report("console_echo", ours, "ms", "a raw attach", raw)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
