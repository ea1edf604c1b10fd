"""What becomes of the processes beside the daemon when they hang, or when who waits for them goes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hyperd import offload as module
from hyperd.errors import ServiceUnavailable
from hyperd.offload import Offload

BODY = b'{"a": 1}'


@pytest.fixture
async def processes() -> AsyncIterator[Offload]:
    made = Offload()
    yield made
    await made.close()


async def read(processes: Offload) -> Any:
    return await processes.run("jane", "hyperd.api.wire.parsing:parsed", {"form": "json"}, BODY)


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process that begins."""
    found: list[subprocess.Popen[bytes]] = []
    spawn = module._spawn

    def noted(*args: Any) -> Any:
        made = spawn(*args)
        found.append(made[1])
        return made

    monkeypatch.setattr(module, "_spawn", noted)
    return found


@pytest.mark.loop_seconds(2, "the test touches each page of 400 MiB")
async def test_one_is_kept_for_the_next_body_however_much_memory_this_process_has_had(
    processes: Offload, spawned: list[subprocess.Popen[bytes]]
) -> None:
    held = bytearray(400 << 20)
    held[::4096] = b"x" * len(held[::4096])
    await read(processes)
    await read(processes)
    assert len(spawned) == 1


async def test_one_that_hangs_is_ended_and_its_work_is_not_begun_again(
    processes: Offload, spawned: list[subprocess.Popen[bytes]]
) -> None:
    await read(processes)
    (process,) = spawned
    processes._wall = 1.0
    os.kill(process.pid, signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ServiceUnavailable, match="within 1 seconds: the host is busy"):
        await read(processes)
    assert loop.time() - began < 1.9
    assert process.poll() is not None
    assert spawned == [process]


async def test_who_goes_while_one_begins_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Offload()
    begins, goes_on = threading.Event(), threading.Event()
    made: list[subprocess.Popen[bytes]] = []
    spawn = module._spawn

    def slow(*args: Any) -> Any:
        begins.set()
        goes_on.wait(10)
        channel, process = spawn(*args)
        made.append(process)
        return channel, process

    monkeypatch.setattr(module, "_spawn", slow)
    asking = asyncio.create_task(read(processes))
    await asyncio.to_thread(begins.wait, 10)
    closing = asyncio.create_task(processes.close())
    await asyncio.sleep(0)
    goes_on.set()
    await closing
    with pytest.raises((asyncio.CancelledError, ServiceUnavailable)):
        await asking
    assert [process.poll() is None for process in made] == [False]


@pytest.mark.parametrize("body", [b" " * 70_000, b"{" * 70_000, b'{"a":1}' * 10_000])
async def test_who_leaves_bad_work_behind_leaves_no_traceback(body: bytes) -> None:
    unasked: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unasked.append(context))
    processes = Offload()
    try:
        request = asyncio.create_task(
            processes.run("eve", "hyperd.api.wire.parsing:parsed", {"form": "json"}, body)
        )
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    finally:
        await processes.close()
    del request
    gc.collect()
    await asyncio.sleep(0)
    assert not unasked
