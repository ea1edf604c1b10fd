"""Threads that never hold the daemon's end back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from hyperd.hypervisor.connection.workers import Workers


async def test_results_and_errors_come_back() -> None:
    workers = Workers("t", 2)
    assert await workers.run(lambda: 7) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await workers.run(lambda: int("x"))
    workers.close()


async def test_a_call_cancelled_in_the_queue_never_begins() -> None:
    workers = Workers("t", 1)
    go = threading.Event()
    first = workers.run(go.wait)
    began: list[bool] = []
    second = workers.run(lambda: began.append(True))
    second.cancel()
    await asyncio.sleep(0)
    go.set()
    await first
    await workers.run(lambda: None)
    assert began == []
    workers.close()


def test_a_stuck_call_does_not_hold_the_process() -> None:
    code = (
        "import asyncio, threading\n"
        "from hyperd.hypervisor.connection.workers import Workers\n"
        "async def main():\n"
        "    try:\n"
        "        await asyncio.wait_for(Workers('t', 1).run(threading.Event().wait), 0.05)\n"
        "    except TimeoutError:\n"
        "        print('late')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "late\n"
