"""What fair shares promise, against every sequence of asking, giving back and leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.errors import TooManyRequests
from hyperd.shares import Grant, Shares

KEYS = ("a", "b", "c", "root")
CAPACITY, FLOOR, HEADROOM, RESERVE, WAITING = 8, 1, 2, 1, 4


@dataclass
class World:
    """Shares, who holds what, and who waits, as a test sees it."""

    shares: Shares[str]
    losable: bool
    held: dict[str, list[Grant[str]]] = field(default_factory=lambda: {key: [] for key in KEYS})
    waiting: dict[str, list[asyncio.Task[Grant[str]]]] = field(default_factory=lambda: {key: [] for key in KEYS})
    served: list[str] = field(default_factory=list)

    def lose(self, key: str) -> Callable[[], None] | None:
        if not self.losable:
            return None

        def lost() -> None:
            self.held[key] = [grant for grant in self.held[key] if grant.lent]

        return lost

    def level(self, key: str, more: int = 0) -> int:
        return len(self.held[key]) + more

    async def settle(self) -> None:
        """Let every task run as far as it goes, and take up what it was given, in the order of that."""
        for _ in range(5):
            await asyncio.sleep(0)
        for key, tasks in self.waiting.items():
            for task in [task for task in tasks if task.done()]:
                tasks.remove(task)
                if not task.cancelled() and task.exception() is None:
                    self.held[key].append(task.result())

    def check(self) -> None:
        lent = sum(len(grants) for grants in self.held.values())
        assert self.shares.lent == lent <= CAPACITY
        assert {key: self.shares.held(key) for key in KEYS} == {key: len(self.held[key]) for key in KEYS}
        assert self.shares.waiting == sum(len(tasks) for tasks in self.waiting.values())
        assert all(len(tasks) <= WAITING for tasks in self.waiting.values())
        free = CAPACITY - lent
        kept = max(0, RESERVE - len(self.held["root"]))
        assert free >= kept, "others have a unit of the reserve"
        for key, tasks in self.waiting.items():
            if not tasks:
                continue
            if key == "root":
                assert free == 0, "the privileged wait though something is free"
            elif len(self.held[key]) < FLOOR:
                assert free <= kept, "a key below its floor waits though something is free"
            else:
                assert free <= kept + HEADROOM, "a key waits though a unit is free that it may have"


STEPS = st.lists(
    st.tuples(st.sampled_from(("ask", "ask", "try", "give", "leave")), st.sampled_from(KEYS), st.integers(0, 9)),
    max_size=80,
)


async def drive(steps: list[tuple[str, str, int]], *, losable: bool) -> None:
    shares: Shares[str] = Shares(
        "things",
        CAPACITY,
        floor=FLOOR,
        headroom=HEADROOM,
        reserve=RESERVE,
        waiting=WAITING,
    )
    world = World(shares, losable)
    for step, key, number in steps:
        root = key == "root"
        if step == "try":
            grant = shares.try_acquire(key, privileged=root, lose=world.lose(key))
            if grant is not None:
                world.held[key].append(grant)
        elif step == "ask":
            full = len(world.waiting[key]) >= WAITING
            asking = asyncio.create_task(shares.acquire(key, privileged=root, lose=world.lose(key)))
            world.waiting[key].append(asking)
            await world.settle()
            assert not full or isinstance(asking.exception(), TooManyRequests)
        elif step == "give" and world.held[key]:
            before = {one: world.level(one) for one in KEYS}
            waits = [one for one in KEYS if world.waiting[one]]
            grant = world.held[key].pop(number % len(world.held[key]))
            before[key] = world.level(key)
            grant.release()
            grant.release()
            await world.settle()
            for served in (one for one in KEYS if world.level(one) > before[one]):
                poorer = [one for one in waits if before[one] < before[served] and world.waiting[one]]
                assert not poorer or served == "root", f"{served} was served before {poorer}, who hold less"
        elif step == "leave" and world.waiting[key]:
            leaving = world.waiting[key][number % len(world.waiting[key])]
            leaving.cancel()
        await world.settle()
        world.check()
    for tasks in world.waiting.values():
        for task in tasks:
            task.cancel()
    await world.settle()
    for grants in world.held.values():
        while grants:
            grants.pop().release()
    assert not list(shares.keys()), "a key is remembered that has nothing"
    assert (shares.lent, shares.waiting) == (0, 0)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_bounds_order_and_room_hold_for_what_is_given_back(steps: list[tuple[str, str, int]]) -> None:
    asyncio.run(drive(steps, losable=False))


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_bounds_order_and_room_hold_for_what_may_be_taken_back(steps: list[tuple[str, str, int]]) -> None:
    asyncio.run(drive(steps, losable=True))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=200))
def test_what_is_taken_back_ends_in_fair_shares(asked: list[str]) -> None:
    """Whatever the order of asking: the water-filling of what each has asked for."""

    shares: Shares[str] = Shares("watches", 12)
    wanted: dict[str, int] = {}
    for key in asked:
        wanted[key] = wanted.get(key, 0) + 1
        shares.try_acquire(key, lose=lambda: None)
    for key, units in wanted.items():
        # Nobody who wanted more has two less than anybody else.
        short = shares.held(key) < units
        assert not short or all(shares.held(key) >= shares.held(other) - 1 for other in wanted)


async def test_a_hostile_key_leaves_their_floor_to_others_and_its_reserve_to_root() -> None:
    shares: Shares[str] = Shares("things", 10, floor=2, headroom=4, reserve=1)
    taken = [shares.try_acquire("hostile") for _ in range(20)]
    assert sum(grant is not None for grant in taken) == 5
    assert all(shares.try_acquire("one") for _ in range(2))
    assert all(shares.try_acquire("two") for _ in range(2))
    assert shares.try_acquire("three") is None
    assert shares.try_acquire("root", privileged=True) is not None
    assert shares.lent == 10


async def test_keys_are_served_in_turn_however_many_wait_of_one() -> None:
    shares: Shares[str] = Shares("things", 1, waiting=50)
    first, order = await shares.acquire("x"), list[str]()

    async def use(key: str) -> None:
        with await shares.acquire(key):
            order.append(key)
            await asyncio.sleep(0)

    users = [asyncio.create_task(use("hostile")) for _ in range(40)]
    await asyncio.sleep(0)
    users += [asyncio.create_task(use("one")) for _ in range(3)]
    await asyncio.sleep(0)
    first.release()
    await asyncio.gather(*users)
    assert order[:6] == ["hostile", "one"] * 3


async def test_a_full_queue_refuses_at_once_and_a_wait_ends_with_its_time() -> None:
    shares: Shares[str] = Shares("things", 1, waiting=1)
    held = await shares.acquire("a")
    with pytest.raises(TooManyRequests) as late:
        await shares.acquire("a", timeout=0.01)
    assert late.value.retry_after_seconds == 1
    waits = asyncio.create_task(shares.acquire("a"))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await shares.acquire("a")
    held.release()
    (await waits).release()
    assert not list(shares.keys())


async def test_what_was_given_to_a_task_that_is_cancelled_goes_to_the_next() -> None:
    shares: Shares[str] = Shares("things", 1)
    held = await shares.acquire("a")
    gone, next_one = (asyncio.create_task(shares.acquire(key)) for key in "bc")
    await asyncio.sleep(0)
    held.release()
    gone.cancel()
    assert (await next_one).key == "c"


async def test_one_source_is_bounded_beside_the_keys() -> None:
    shares: Shares[str] = Shares("imports", 4, most_beside=1)
    assert shares.try_acquire("a", beside="slow.example") is not None
    waits = asyncio.create_task(shares.acquire("b", beside="slow.example"))
    await asyncio.sleep(0)
    other = asyncio.create_task(shares.acquire("b", beside="fast.example"))
    assert (await other).lent, "what waits for one source must not hold up its key's other work"
    waits.cancel()


async def test_the_newest_is_taken_from_who_holds_most() -> None:
    lost: list[int] = []
    shares: Shares[str] = Shares("watches", 4)
    for number in range(4):
        assert shares.try_acquire("many", lose=lambda number=number: lost.append(number))  # type: ignore[misc]
    for _ in range(2):
        assert shares.try_acquire("few", lose=lambda: None) is not None
    assert lost == [3, 2]
    assert shares.try_acquire("few", lose=lambda: None) is None


async def test_where_things_churn_the_oldest_goes_also_of_the_key_itself() -> None:
    lost: list[str] = []
    shares: Shares[str] = Shares("connections", 4, most=3, churn=True)
    for number in range(5):
        assert shares.try_acquire("many", lose=lambda number=number: lost.append(f"many {number}"))  # type: ignore[misc]
    assert lost == ["many 0", "many 1"]
    assert shares.try_acquire("one", lose=lambda: lost.append("one"))
    assert shares.try_acquire("two", lose=lambda: lost.append("two"))
    assert lost == ["many 0", "many 1", "many 2"]
    assert shares.lent == 4


async def test_where_things_churn_a_crowd_that_holds_one_each_keeps_nobody_out() -> None:
    lost: list[int] = []
    shares: Shares[str] = Shares("connections", 4, most=3, churn=True)
    for number in range(6):
        assert shares.try_acquire(f"of {number}", lose=lambda number=number: lost.append(number))  # type: ignore[misc]
    assert lost == [0, 1]
    assert shares.lent == 4


async def test_a_holder_that_fails_when_it_loses_harms_only_itself() -> None:
    def fails() -> None:
        raise RuntimeError("it has ended already")

    shares: Shares[str] = Shares("watches", 2)
    first = [shares.try_acquire("many", lose=fails) for _ in range(2)]
    grant = shares.try_acquire("few", lose=fails)
    assert grant is not None
    for one in (grant, *first):
        assert one is not None
        one.release()
    assert (shares.lent, list(shares.keys())) == (0, [])
