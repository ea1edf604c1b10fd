"""A guest that does not answer holds nothing but its own call, and libvirt is not blamed for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import libvirt
import pytest

from hyperd.errors import HyperdError, NotFound, ServiceUnavailable
from hyperd.hypervisor.connection import lanes as module
from hyperd.hypervisor.connection.lanes import FOR_ENDING, MAX_LANES, Lanes

URI = "test:///default"


class Guests:
    """Guests that hang until ``thaw``."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.thaw = threading.Event()
        self.tasks: list[asyncio.Task[Any]] = []

    def hang(self, name: str, *, timeout: float = 30.0) -> asyncio.Task[Any]:
        asking = self.lanes.call(name, f"shut down domain {name}", lambda _: self.thaw.wait(60), timeout=timeout)
        task = asyncio.create_task(asking)
        self.tasks.append(task)
        return task

    async def well(self, name: str, *, ends: bool = False, timeout: float = 5.0) -> str:
        def destroy(conn: libvirt.virConnect) -> str:
            return str(conn.getURI())

        return await self.lanes.call(name, f"destroy domain {name}", destroy, timeout=timeout, ends=ends)


@asynccontextmanager
async def hanging(*, parallel: int = 1, trouble: Callable[[], str] = str) -> AsyncIterator[Guests]:
    guests = Guests(Lanes(URI, parallel=parallel, trouble=trouble))
    try:
        yield guests
    finally:
        guests.thaw.set()
        await asyncio.gather(*guests.tasks, return_exceptions=True)
        guests.lanes.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr(module, "HUNG_SECONDS", 0.3)


@pytest.mark.parametrize("hung", [1, 2, 8, MAX_LANES - FOR_ENDING - 1])
async def test_a_healthy_guest_waits_for_no_hung_one(hung: int) -> None:
    async with hanging() as guests:
        for number in range(hung):
            guests.hang(f"hung {number}")
        assert await guests.well("healthy", timeout=10) == URI
        assert await guests.well("healthy", ends=True) == URI


async def test_any_number_of_hung_guests_may_still_be_ended() -> None:
    async with hanging() as guests:
        tasks = [guests.hang(f"hung {number}", timeout=3) for number in range(3 * MAX_LANES)]
        await asyncio.sleep(2)
        assert guests.lanes.hung() == MAX_LANES - FOR_ENDING
        for number in range(3 * MAX_LANES):
            assert await guests.well(f"hung {number}", ends=True) == URI
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        said = {str(error) for error in ended}
        assert all(isinstance(error, ServiceUnavailable) for error in ended)
        assert any("its QEMU does not answer (no answer in 3 s)" in text for text in said)
        assert any("12 guests that do not answer hold up its calls" in text for text in said)


async def test_the_guest_is_named_and_libvirt_is_not_blamed() -> None:
    async with hanging() as guests:
        with pytest.raises(ServiceUnavailable) as late:
            await guests.hang("a", timeout=0.5)
        assert str(late.value) == "Cannot shut down domain a: its QEMU does not answer (no answer in 0.5 s)."
        with pytest.raises(ServiceUnavailable, match="an earlier call still waits for it"):
            async with asyncio.timeout(30):  # what is known to hang is not waited for again
                await guests.well("a", timeout=50)
        guests.thaw.set()
        async with asyncio.timeout(5):
            while guests.lanes.hung():
                await asyncio.sleep(0.01)
        assert await guests.well("a") == URI


async def test_without_libvirt_libvirt_is_named() -> None:
    why = ["libvirtd does not answer"]
    async with hanging(trouble=lambda: why[0]) as guests:
        with pytest.raises(ServiceUnavailable, match="libvirt is not reachable"):
            await guests.well("a")
        why[0] = ""
        task = guests.hang("a", timeout=0.3)
        await asyncio.sleep(0.1)
        why[0] = "libvirtd closed the connection"
        with pytest.raises(ServiceUnavailable, match="libvirtd closed the connection"):
            await task


async def test_calls_into_one_guest_come_one_after_the_other() -> None:
    async with hanging(parallel=4) as guests:
        busy, most, lock = [0], [0], threading.Lock()

        def call(_: libvirt.virConnect) -> None:
            with lock:
                busy[0] += 1
                most[0] = max(most[0], busy[0])
            time.sleep(0.005)
            with lock:
                busy[0] -= 1

        await asyncio.gather(*(guests.lanes.call("a", "ask", call, timeout=5) for _ in range(10)))
        assert most == [1]
        await asyncio.gather(*(guests.lanes.call(str(n), "ask", call, timeout=5) for n in range(20)))
        assert 1 < most[0] <= 4


async def test_errors_are_libvirts_and_lanes_are_used_again() -> None:
    async with hanging() as guests:
        with pytest.raises(NotFound):
            await guests.lanes.call("a", "find it", lambda conn: conn.lookupByName("none"), timeout=5)
        for _ in range(20):
            await guests.well("a")
        assert len(guests.lanes._idle) == 1
        with pytest.raises(HyperdError):
            await guests.lanes.call("a", "find it", lambda conn: conn.lookupByName("none"), timeout=5)


async def test_who_leaves_while_waiting_leaves_nothing() -> None:
    async with hanging() as guests:
        guests.hang("a")
        waiting = [asyncio.create_task(guests.well("a")) for _ in range(3)]
        await asyncio.sleep(0.05)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        guests.thaw.set()
        await asyncio.gather(*guests.tasks)
        async with asyncio.timeout(5):
            while guests.lanes._lanes.lent:
                await asyncio.sleep(0.01)
        assert not list(guests.lanes._lanes.keys())
        assert not list(guests.lanes._running.keys())


async def test_a_thread_that_does_not_start_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with hanging() as guests:
        with monkeypatch.context() as patched:
            patched.setattr(module, "Workers", full)
            for _ in range(2 * MAX_LANES):
                with pytest.raises(RuntimeError):
                    await guests.well("a", timeout=1)
        assert await guests.well("a") == URI
