"""The clock of a guest that stood still is set when it goes on, and no other guest's."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import libvirt
import pytest

from hyperd import clock
from hyperd.background import Background
from hyperd.errors import HyperdError, NotFound, ServiceUnavailable
from hyperd.hypervisor.actions import clocks
from hyperd.hypervisor.actions.clocks import SHORT_SECONDS, Clocks
from hyperd.hypervisor.state import DomainEvent, DomainInfo, DomainState, EventKind
from tests.testdriver.hypervisor import TestDriver
from tests.unit.hypervisor import specs
from tests.unit.hypervisor.test_test_driver import SETTINGS

GUEST = "guest"
SEEN = DomainInfo(GUEST, "shop", "web", 1, "", DomainState.PAUSED, "ioerror", True)


class World:
    """One guest, its agent, and who hears of it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.background = Background()
        self.known: dict[str, DomainInfo] = {}
        self.answers: list[HyperdError | None] = []
        self.asked = 0
        self.during: list[EventKind] = []
        """What happens to the guest while its agent is asked."""
        self.clocks = Clocks(self.ask, self.background, known=self.known, elapsed=lambda: self.now)

    async def ask(self, uid: str) -> int:
        assert uid == GUEST
        self.asked += 1
        for kind in self.during:
            self.hears(kind)
            self.now += SHORT_SECONDS
        self.during.clear()
        if self.answers and (failure := self.answers.pop(0)):
            raise failure
        return 1

    def hears(self, kind: EventKind) -> None:
        self.clocks.hear(GUEST, DomainEvent(uid=GUEST, kind=kind))

    def stands_still(self, seconds: float) -> None:
        self.hears(EventKind.SUSPENDED)
        self.now += seconds
        self.hears(EventKind.RESUMED)

    async def settle(self) -> int:
        """How often the agent was asked in all."""
        await asyncio.gather(*self.background._tasks)
        return self.asked


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(clocks, "PAUSES", (0.0, 0.0, 0.0))
    made = World()
    yield made
    await made.background.stop()


async def test_one_that_stood_still_is_asked_once(world: World) -> None:
    world.stands_still(SHORT_SECONDS)
    assert await world.settle() == 1


async def test_one_that_stopped_for_a_moment_or_has_just_started_is_left_alone(world: World) -> None:
    world.stands_still(SHORT_SECONDS / 2)
    world.hears(EventKind.RESUMED)
    world.hears(EventKind.STARTED)
    for seen in (replace(SEEN, state=DomainState.RUNNING), replace(SEEN, reason="starting-up")):
        world.known[GUEST] = seen
        world.hears(EventKind.RESUMED)
    assert await world.settle() == 0


async def test_the_next_life_of_a_guest_is_not_asked_for_the_last_one(world: World) -> None:
    world.hears(EventKind.SUSPENDED)
    world.now += 3600
    world.hears(EventKind.STOPPED)
    world.hears(EventKind.RESUMED)
    assert await world.settle() == 0


async def test_one_that_an_earlier_daemon_saw_stop_is_asked(world: World) -> None:
    world.known[GUEST] = SEEN
    world.hears(EventKind.RESUMED)
    assert await world.settle() == 1


async def test_an_agent_that_does_not_answer_yet_is_asked_again_and_then_left(world: World) -> None:
    world.answers = [ServiceUnavailable("The agent does not answer."), None]
    world.stands_still(60)
    assert await world.settle() == 2
    world.answers = [ServiceUnavailable("There is no agent.")] * 3
    world.stands_still(60)
    assert await world.settle() == 2 + 3


async def test_a_guest_that_is_gone_is_asked_no_more(world: World) -> None:
    world.answers = [NotFound("There is no such domain.")]
    world.stands_still(60)
    assert await world.settle() == 1


async def test_one_that_stands_still_again_while_it_is_asked_is_asked_again(world: World) -> None:
    world.during = [EventKind.SUSPENDED, EventKind.RESUMED]
    world.stands_still(60)
    assert await world.settle() == 2


async def test_libvirt_has_a_guests_clock_set_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "PAUSES", (0.0,))
    monkeypatch.setattr(clocks, "SHORT_SECONDS", 0.0)
    hypervisor = TestDriver(SETTINGS, instance="clocks")
    await hypervisor.start()
    try:
        await hypervisor.wait_connected()
        uid = str(uuid.uuid4())
        spec = replace(specs.GENERIC, instance="clocks", uid=uid)
        await hypervisor.define_and_start(spec)
        resumed = asyncio.Event()
        hypervisor.on_domain(lambda _, event: resumed.set() if event.kind is EventKind.RESUMED else None)
        conn = libvirt.open(SETTINGS.uri)
        domain = conn.lookupByUUIDString(uid)
        assert domain.getTime(0)["seconds"] < clock.wall() - 3600
        domain.suspend()
        await hypervisor.resume(uid)
        await resumed.wait()
        await asyncio.gather(
            *(task for task in asyncio.all_tasks() if task.get_name().startswith("set the clock"))
        )
        assert abs(domain.getTime(0)["seconds"] - clock.wall()) < 60
        conn.close()
    finally:
        await hypervisor.close()
