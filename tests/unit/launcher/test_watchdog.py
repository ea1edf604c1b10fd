"""The node's watchdog: what it guards ends once nobody has fed it for so long, whatever became of hyperd."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hyperd import clock
from hyperd.errors import TemporaryError
from hyperd.launcher import sandbox
from hyperd.launcher.watchdog import Watchdog

SLEEPS = "import time; time.sleep(600)"


class Guest:
    """A process that has its uid in its command line, as QEMU has."""

    def __init__(self) -> None:
        self.uid = str(uuid.uuid4())
        self.process = subprocess.Popen([sys.executable, "-c", SLEEPS, "-uuid", self.uid])

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, 10)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def guests() -> Iterator[list[Guest]]:
    made = [Guest(), Guest()]
    yield made
    for guest in made:
        guest.end()


@pytest.fixture
async def watchdog(programs: Path, tmp_path: Path) -> AsyncIterator[Watchdog]:
    made = Watchdog(programs, tmp_path / "run", tmp_path / "log")
    await made.start()
    pid = await pid_of(made)
    yield made
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def pid_of(watchdog: Watchdog) -> int:
    with await asyncio.to_thread(watchdog._connected) as asked:
        return sandbox.peer_of(asked)


async def test_what_is_guarded_ends_when_it_is_not_fed(
    watchdog: Watchdog, guests: list[Guest], tmp_path: Path
) -> None:
    first, second = guests
    began = clock.elapsed()
    await watchdog.feed(began + 0.6)
    await watchdog.guard(first.pid, first.uid)
    assert await watchdog.guarded() == {first.uid}
    assert await first.ended() == -signal.SIGKILL
    assert 0.6 <= clock.elapsed() - began < 3
    assert second.process.poll() is None
    assert first.uid in (tmp_path / "log" / "watchdog.log").read_text()
    assert await watchdog.guarded() == frozenset()
    with pytest.raises(TemporaryError, match="it was not fed"):
        await watchdog.guard(second.pid, second.uid)
    await watchdog.feed(clock.elapsed() + 60)
    await watchdog.guard(second.pid, second.uid)
    await watchdog.guard(second.pid, second.uid)
    assert await watchdog.guarded() == {second.uid}


async def test_what_is_fed_or_released_goes_on(watchdog: Watchdog, guests: list[Guest]) -> None:
    fed, released = guests
    await watchdog.feed(clock.elapsed() + 0.5)
    for guest in guests:
        await watchdog.guard(guest.pid, guest.uid)
    await watchdog.release(released.uid)
    await watchdog.feed(clock.elapsed() + 60)
    await asyncio.sleep(0.6)
    assert fed.process.poll() is None
    await watchdog.cap(clock.elapsed() + 90)
    with pytest.raises(TemporaryError, match="that has passed"):
        await watchdog.feed(clock.elapsed() - 1)
    await watchdog.cap(clock.elapsed() + 0.3)
    assert await fed.ended() == -signal.SIGKILL
    assert released.process.poll() is None


async def test_nobody_is_guarded_for_another(watchdog: Watchdog, guests: list[Guest]) -> None:
    first, second = guests
    await watchdog.feed(clock.elapsed() + 60)
    with pytest.raises(TemporaryError, match="is none of the guest"):
        await watchdog.guard(first.pid, second.uid)
    first.end()
    with pytest.raises(TemporaryError, match="No such process"):
        await watchdog.guard(first.pid, first.uid)
    assert await watchdog.guarded() == frozenset()


async def test_there_is_one_of_them_which_outlives_whoever_started_it(watchdog: Watchdog) -> None:
    pid = await pid_of(watchdog)
    await watchdog.start()
    assert await pid_of(watchdog) == pid
    assert os.getsid(pid) == pid != os.getsid(0)


async def test_it_is_started_anew_where_it_was_killed(watchdog: Watchdog) -> None:
    pid = await pid_of(watchdog)
    with sandbox.held(pid) as process:
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(select.select, [process], [], [], 10)
    with pytest.raises(TemporaryError, match="does not answer"):
        await watchdog.guarded()
    await watchdog.start()
    assert await watchdog.guarded() == frozenset()
    os.kill(await pid_of(watchdog), signal.SIGKILL)


@pytest.mark.parametrize(
    "line", ["", "feed", "feed x", "guard 1", "guard x y", "x" * 500, "guard 1 short", "list all"]
)
async def test_what_it_does_not_know_it_refuses(watchdog: Watchdog, line: str) -> None:
    with pytest.raises(TemporaryError):
        await watchdog._ask(line)
    assert await watchdog.guarded() == frozenset()


async def test_who_is_silent_keeps_nobody_alive(watchdog: Watchdog, guests: list[Guest]) -> None:
    guest = guests[0]
    began = clock.elapsed()
    await watchdog.feed(began + 0.5)
    await watchdog.guard(guest.pid, guest.uid)
    with await asyncio.to_thread(watchdog._connected) as asked:
        await asyncio.to_thread(asked.send, b"l")
        assert await guest.ended() == -signal.SIGKILL
    assert clock.elapsed() - began < 2


async def test_who_does_not_take_a_long_list_keeps_nobody_alive(watchdog: Watchdog, guests: list[Guest]) -> None:
    """As a hyperd that is stopped while it is told; the guests are more than a socket holds."""
    guest = guests[0]
    await watchdog.feed(clock.elapsed() + 60)
    for number in range(1000):
        await watchdog._ask(f"guard {guest.pid} {uuid.UUID(int=number)}")
    began = clock.elapsed()
    await watchdog.feed(began + 0.5)
    with await asyncio.to_thread(watchdog._connected) as asked:
        await asyncio.to_thread(asked.send, b"list\n")
        assert await guest.ended() == -signal.SIGKILL
    assert clock.elapsed() - began < 2


async def test_one_in_a_cgroup_of_hyperds_own_is_not_relied_on(
    watchdog: Watchdog, guests: list[Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the container's runtime would end it with hyperd."""
    guest, own = guests[0], f"/kubelet/pod/{uuid.uuid4()}"
    await watchdog.feed(clock.elapsed() + 60)
    await watchdog.guard(guest.pid, guest.uid)
    monkeypatch.setattr("hyperd.launcher.watchdog._cgroups", lambda _: iter([("0", own)]))
    with pytest.raises(TemporaryError, match="would end with that"):
        await watchdog.guarded()
    with pytest.raises(TemporaryError, match="does not start"):
        await watchdog.start()
    monkeypatch.undo()
    assert await watchdog.guarded() == {guest.uid}, "one that guards guests is not ended for that"


async def test_where_it_is_not_built_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="does not start"):
        await Watchdog(tmp_path / "none", tmp_path, tmp_path).start()
