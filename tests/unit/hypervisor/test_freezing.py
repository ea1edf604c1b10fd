"""Guests that are held: not all at once, however many are asked for."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.hypervisor import freezing, thaw
from hyperd.hypervisor.freezing import Freezing


async def test_few_guests_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "_MOST_HELD", 2)
    held: set[str] = set()
    most = 0

    async def freeze(uid: str) -> int:
        nonlocal most
        held.add(uid)
        most = max(most, len(held))
        return 1

    async def thaw(uid: str) -> int:
        held.discard(uid)
        return 1

    all_ = Freezing("test:///default", freeze=freeze, thaw=thaw)

    async def take(uid: str) -> bool:
        async with all_.frozen(uid) as frozen:
            await asyncio.sleep(0.01)
        return frozen.whole

    assert await asyncio.gather(*(take(f"u{number}") for number in range(5))) == [True] * 5
    assert (most, held) == (2, set())


class Agent:
    """Hangs until ``until`` seconds have passed, of a clock that sleeps move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, until: float) -> None:
        self.now, self.until, self.asked = 0.0, until, 0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.sleep", self._sleep)
        monkeypatch.setattr(thaw, "_thawed", self._thawed)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _thawed(self, uri: str, uid: str, runs: set[int]) -> bool:
        self.asked += 1
        return self.now >= self.until


def test_a_guest_whose_agent_hangs_for_an_hour_is_thawed_when_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(monkeypatch, until=3600)
    assert thaw.insist("test:///default", "hangs") == 0
    assert agent.now - agent.until < 30
    assert agent.asked < 600


def test_a_libvirt_that_is_gone_for_good_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(monkeypatch, until=1e9)
    monkeypatch.setattr(thaw, "_thawed", lambda *_: None)
    assert thaw.insist("test:///default", "gone") == 1
    assert thaw.LOST_SECONDS < agent.now < thaw.LOST_SECONDS + 60


def test_of_those_that_wait_for_a_guest_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(monkeypatch, until=3600)
    first = thaw._claim("hangs too")
    assert first is not None
    assert thaw.insist("test:///default", "hangs too") == 1
    assert agent.now < 200
    first.close()
