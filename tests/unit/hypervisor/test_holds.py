"""Guests that users hold frozen: until they say so, or their time is over, and snapshots within that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hyperd.errors import ServiceUnavailable, TooManyRequests
from hyperd.hypervisor import freezing
from hyperd.hypervisor.freezing import Freezing


class Guest:
    """Has two file systems; what is done to it in order."""

    def __init__(self) -> None:
        self.frozen, self.done, self.told = 0, list[str](), list[bool]()
        self.failure: ServiceUnavailable | None = None
        self.all = Freezing("test:///default", freeze=self.freeze, thaw=self.thaw, changed=self.changed)

    async def freeze(self, _: str) -> int:
        if self.failure is not None:
            raise self.failure
        self.frozen = 2
        self.done.append("freeze")
        return 2

    async def thaw(self, _: str) -> int:
        thawed, self.frozen = self.frozen, 0
        self.done.append("thaw")
        return thawed

    def changed(self, uid: str) -> None:
        self.told.append(self.all.is_frozen(uid))


@pytest.fixture
async def guest() -> AsyncIterator[Guest]:
    made = Guest()
    yield made
    await made.all.close()


async def test_a_guest_is_frozen_until_it_is_released(guest: Guest) -> None:
    number, left = await guest.all.hold("u", 60)
    assert (number, 59 < left <= 60, guest.frozen) == (2, True, 2)
    again = await guest.all.hold("u", 600)
    assert (again[0], again[1] <= left, guest.done) == (2, True, ["freeze"])
    assert await guest.all.thaw("u") == 0, "what an earlier snapshot left frozen is not this"
    assert await guest.all.release("u") is True
    assert await guest.all.release("u") is None
    assert (guest.done, guest.told) == (["freeze", "thaw"], [True, False])


async def test_it_is_thawed_when_its_time_is_over_and_can_be_frozen_again(guest: Guest) -> None:
    await guest.all.hold("u", 0.1)
    async with asyncio.timeout(5):
        while guest.all.is_frozen("u"):
            await asyncio.sleep(0.02)
    assert guest.done == ["freeze", "thaw"]
    await guest.all.hold("u", 60)
    assert guest.all.is_frozen("u")


async def test_a_snapshot_is_taken_within_and_leaves_it_frozen(guest: Guest) -> None:
    await guest.all.hold("u", 60)
    release: asyncio.Task[bool | None]
    async with guest.all.frozen("u") as frozen:
        release = asyncio.create_task(guest.all.release("u"))
        await asyncio.sleep(0.05)
        assert guest.frozen == 2, "who releases it waits for the snapshot"
    assert (frozen.file_systems, frozen.whole) == (2, True)
    assert await release is True
    async with guest.all.frozen("u") as frozen:
        pass
    assert (frozen.whole, guest.done) == (True, ["freeze", "thaw"] * 2)


async def test_a_snapshot_that_outlasts_it_was_not_of_one_moment(guest: Guest) -> None:
    await guest.all.hold("u", 0.1)
    async with guest.all.frozen("u") as frozen:
        await asyncio.sleep(0.3)
    assert frozen.whole is False


async def test_one_that_thaws_by_itself_is_told(guest: Guest) -> None:
    await guest.all.hold("u", 60)
    guest.frozen = 0
    assert await guest.all.release("u") is False


async def test_an_agent_that_refuses_is_told_and_leaves_nothing(guest: Guest) -> None:
    guest.failure = ServiceUnavailable("The agent is busy.")
    with pytest.raises(ServiceUnavailable, match="busy"):
        await guest.all.hold("u", 60)
    assert not guest.all.is_frozen("u")
    guest.failure = None
    assert (await guest.all.hold("u", 60))[0] == 2


async def test_the_end_of_the_daemon_thaws_all(guest: Guest) -> None:
    await guest.all.hold("u", 60)
    await guest.all.close()
    assert (guest.frozen, guest.told) == (0, [True, False])


async def test_not_all_guests_are_held_at_once(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "_MOST_ASKED", 1)
    await guest.all.hold("u", 60)
    with pytest.raises(TooManyRequests):
        await guest.all.hold("v", 60)
