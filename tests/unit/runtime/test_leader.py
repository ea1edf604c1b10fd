"""One leader at a time: who takes the lease, who lets it go, and what a stopped process believes afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hyperd.errors import ServiceUnavailable
from hyperd.resources.all import KINDS, NAMESPACE
from hyperd.resources.core.kinds import LEASE
from hyperd.runtime.leader import Leader
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import Store

SECONDS = 15.0


class Time:
    """A clock that moves when told; ``sleep`` yields to the test once a round."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Candidate:
    """A Leader whose rounds the test calls one by one."""

    def __init__(self, store: Store, name: str, clock: Callable[[], float]) -> None:
        self._go = asyncio.Semaphore(0)
        self._done = asyncio.Semaphore(0)
        self.told: list[bool] = []
        self.leader = Leader(
            store,
            namespace="default",
            name="leader",
            identity=name,
            seconds=SECONDS,
            clock=clock,
            sleep=self._sleep,
        )
        self.leader.on_change(self.told.append)
        self._task: asyncio.Task[None] | None = None

    async def _sleep(self, _: float) -> None:
        self._done.release()
        await self._go.acquire()

    async def round(self) -> bool:
        if self._task is None:
            self._task = asyncio.create_task(self.leader.run())
        else:
            self._go.release()
        async with asyncio.timeout(10):
            await self._done.acquire()
        return self.leader.leads()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    embedded = EmbeddedStore(tmp_path / "s.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    async with opened_store(embedded):
        assert (await embedded.get(NAMESPACE, "", "default")).name
        yield embedded


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def pair(store: EmbeddedStore, time: Time) -> AsyncIterator[tuple[Candidate, Candidate]]:
    first, second = Candidate(store, "a", time), Candidate(store, "b", time)
    yield first, second
    await first.close()
    await second.close()


Pair = tuple[Candidate, Candidate]


async def test_the_first_leads_and_the_second_does_not_while_it_renews(pair: Pair, time: Time) -> None:
    first, second = pair
    assert await first.round()
    for _ in range(20):
        time.now += SECONDS / 6
        assert await first.round()
        assert not await second.round()
    assert (first.told, second.told) == ([True], [])


async def test_a_dead_leaders_lease_is_taken_after_its_duration_and_not_before(pair: Pair, time: Time) -> None:
    first, second = pair
    assert await first.round()
    assert not await second.round()
    time.now += SECONDS - 0.1
    assert not await second.round()
    assert not first.leader.leads(), "its holder must have given up before another may take over"
    time.now += 0.2
    assert await second.round()


async def test_a_leader_that_was_stopped_knows_at_once_that_it_may_not_go_on(pair: Pair, time: Time) -> None:
    first, second = pair
    assert await first.round()
    await second.round()
    time.now += SECONDS + 1
    assert await second.round()
    assert not first.leader.leads()
    assert not await first.round()
    assert first.told == [True, False]


async def test_a_released_lease_is_taken_at_once(pair: Pair, store: EmbeddedStore) -> None:
    first, second = pair
    assert await first.round()
    assert not await second.round()
    await first.leader.release()
    assert not first.leader.leads()
    assert await second.round()
    lease = (await store.get(LEASE, "default", "leader")).object()
    assert lease["spec"]["holderIdentity"] == "b"
    assert lease["spec"]["leaseTransitions"] == 1


async def test_of_two_who_see_an_expired_lease_one_gets_it(store: EmbeddedStore, time: Time) -> None:
    dead = Candidate(store, "dead", time)
    assert await dead.round()
    await dead.close()
    candidates = [Candidate(store, f"c{number}", time) for number in range(5)]
    for candidate in candidates:
        assert not await candidate.round()
    time.now += SECONDS + 1
    won = await asyncio.gather(*(candidate.round() for candidate in candidates))
    assert won.count(True) == 1
    for candidate in candidates:
        await candidate.close()


async def test_without_an_answer_the_leader_gives_up_in_time(store: EmbeddedStore, time: Time) -> None:
    down = False

    class Flaky:
        def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
            real = getattr(store, name)

            async def call(*args: object, **kwargs: object) -> object:
                if down:
                    raise ServiceUnavailable("The API server cannot be reached.")
                return await real(*args, **kwargs)

            return call

    leader = Candidate(Flaky(), "a", time)  # type: ignore[arg-type]
    assert await leader.round()
    down = True
    time.now += SECONDS / 6
    assert await leader.round(), "one failed renewal is no reason to stop"
    time.now += SECONDS
    assert not await leader.round()
    down = False
    assert await leader.round()
    assert leader.told == [True, False, True]
    await leader.close()
