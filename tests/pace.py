"""Whether an event loop turns while something else goes on, measured against a thread that only sleeps."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_TICK = 0.005


@dataclass
class Pace:
    """How often the thread has slept five milliseconds, in all and at most between two turns of the loop."""

    turns: int = 0
    missed: int = 0


@asynccontextmanager
async def paced() -> AsyncIterator[Pace]:
    """Count until the block ends. A busy host holds up both; what holds up the loop alone shows in ``missed``."""
    pace, ended = Pace(), threading.Event()

    def turn() -> None:
        while not ended.is_set():
            time.sleep(_TICK)
            pace.turns += 1

    async def look() -> None:
        while True:
            before = pace.turns
            await asyncio.sleep(_TICK)
            pace.missed = max(pace.missed, pace.turns - before)

    thread, looking = threading.Thread(target=turn, daemon=True), asyncio.create_task(look())
    thread.start()
    try:
        yield pace
    finally:
        ended.set()
        looking.cancel()
