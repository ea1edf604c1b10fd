"""Turns of the event loop: whoever has much to do does it a step at a time, and others' steps come in between.

A step is what a task does between two waits: the CPU time that nobody else can have meanwhile. Everything that is
done for a user is done in its steps (``stepping``), and what arrives from it is parsed in one. What waits, for a
commit, a slow reader or an event, has no turn and keeps nobody from one, of the same user neither. Who waits for a
turn holds nothing that others wait for: what holds something runs in a task of its own (``in_one_turn``, or none).
"""

from __future__ import annotations

import asyncio
import time
import types
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from typing import Final, Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

_EACH_TURN: Final = 1
"""Steps of one user in one turn of the event loop, while others ask too."""
_ALONE: Final = 32
"""The same for a user whom nobody was beside lately, as a turn costs as much as a step. Fewer of long ones."""
_LONG_TURN_SECONDS: Final = 0.001
"""Of CPU time: what else the host does is nobody's here."""
_LATELY_SECONDS: Final = 5.0
_PASSERS: Final = 4
"""Steps for those who have not said who they are that count as nobody's, in one turn of the event loop."""
_PASSING: Final = ""
"""The key that all of those share. Nobody who is logged in has an empty name."""
_WORKS: Final = 8
"""What runs ``in_one_turn`` for one user at the same time while others ask: no step of it waits for a turn."""
_REST: Final = 2
"""Turns for which who has much to do rests after a step, while somebody has little. A request takes three."""


class Turns:
    """At most so many steps for each key in one turn of the event loop; the rest have theirs in later turns.

    A user with a hundred connections so keeps another one's request waiting for one or two steps, not for a
    hundred requests: a key whose steps wait rests for some turns after each, while others' steps need not wait.
    Nobody is refused, and within a key it goes first come, first served. A key that has been alone for some
    seconds may do more, as many as take a millisecond; the first one beside it waits for those, once.
    """

    def __init__(self, each: int = _EACH_TURN, alone: int = _ALONE) -> None:
        self._most = each
        self._alone = alone
        self._each = self._most_alone = alone
        self._ticked = self._used = 0.0
        self._last = ""
        self._shared_until = 0.0
        self._begun: dict[str, int] = {}
        self._queues: dict[str, _Line] = {}
        self._ticking = False
        self._number = self._light_until = self._passed = 0
        self._passed_at = -_REST
        """The turn in which the last step of those who pass came."""
        self._served: dict[str, int] = {}
        """Of keys whose steps wait, the turn in which one came last."""
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @property
    def shared(self) -> bool:
        """Whether several keys had turns lately."""
        return self._each == self._most

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def take(self, key: str) -> asyncio.Future[None] | None:
        """None: go on now. Else what to wait for first."""
        if key != self._last:
            self._shared(key)
        return self._take(key, key)

    def take_passing(self, key: str) -> asyncio.Future[None] | None:
        """The same for who is known by its address alone: a probe, or somebody's connection until its login.

        A few of those do not end that a user is alone; a crowd of them does. All of them together have the steps
        of one user, and take turns at those: many addresses cost a user no more than one.
        """
        self._pass(_PASSING)
        return self._take(_PASSING, key)

    def take_local(self, uid: int) -> asyncio.Future[None] | None:
        """The same for a user of this host, whom no crowd of strangers keeps waiting."""
        key = f"\0{uid}"  # no name of a user
        self._pass(key)
        return self._take(key, key)

    def _pass(self, key: str) -> None:
        self._passed += 1
        if self._passed > _PASSERS:
            self._shared(key)

    def gate(self, key: str) -> asyncio.Semaphore | None:
        """What each work that keeps no turns passes while it runs; None while nobody else asks."""
        return self._gates.setdefault(key, asyncio.Semaphore(_WORKS)) if self.shared else None

    def _take(self, key: str, who: str) -> asyncio.Future[None] | None:
        if not self._ticking:
            self._ticking = True
            loop = asyncio.get_running_loop()
            self._ticked, self._used = loop.time(), time.thread_time()
            self._relax()
            loop.call_soon(self._tick)
        begun = self._begun.get(key, 0)
        if begun < self._each and not (key == _PASSING and self._passers_rest()):
            self._begun[key] = begun + 1
            if key == _PASSING:
                self._passed_at = self._number
            elif self._queues and key not in self._served:
                self._light_until = self._number + _REST
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Line()
        queue.join(who, turn)
        return turn

    def _passers_rest(self) -> bool:
        """What a step of theirs begins, a handshake say, is done turns later: so they rest after each one."""
        return self.shared and self._number <= self._passed_at + _REST

    def _shared(self, key: str) -> None:
        if self._last:
            self._shared_until = asyncio.get_running_loop().time() + _LATELY_SECONDS
            self._each = self._most
        self._last = key

    def _relax(self) -> None:
        if self._ticked > self._shared_until:
            self._each = self._most_alone

    def _tick(self) -> None:
        self._begun.clear()
        self._passed = 0
        self._number += 1
        former, self._used = self._used, time.thread_time()
        if self._used - former > _LONG_TURN_SECONDS:
            self._most_alone = max(self._most, self._most_alone // 2)
        elif self._most_alone < self._alone:
            self._most_alone += 1
        self._ticked = asyncio.get_running_loop().time()
        self._relax()
        for key, queue in list(self._queues.items()):
            begun = 0
            rests = self._number <= min(self._light_until, self._served.get(key, 0) + _REST)
            if self._passers_rest() if key == _PASSING else rests:
                self._begun[key] = self._each
                continue
            while queue and begun < self._each:
                turn = queue.next()
                if not turn.done():
                    turn.set_result(None)
                    begun += 1
            self._begun[key] = begun
            self._served[key] = self._number
            if key == _PASSING:
                self._passed_at = self._number
            if not queue:
                del self._queues[key]
                del self._served[key]
        if self._begun:
            asyncio.get_running_loop().call_soon(self._tick)
        else:
            self._ticking = False


class _Line:
    """Those who wait for a step: first come, first served for each of ``who``, and these one after another."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._of.values())

    def __bool__(self) -> bool:
        return bool(self._of)

    def join(self, who: str, turn: asyncio.Future[None]) -> None:
        queue = self._of.get(who)
        if queue is None:
            queue = self._of[who] = deque()
        queue.append(turn)

    def next(self) -> asyncio.Future[None]:
        who, queue = next(iter(self._of.items()))
        turn = queue.popleft()
        if queue:
            self._of.move_to_end(who)
        else:
            del self._of[who]
        return turn


Take = Callable[[], asyncio.Future[None] | None]
"""None: go on now. Else what to wait for first."""
Gate = Callable[[], asyncio.Semaphore | None]


async def stepping(work: Coroutine[object, None, T], take: Take) -> T:
    """What ``work`` returns or raises; it takes a turn before each of its steps.

    What it awaits is awaited in its place, so it is cancelled, and times out, as it would be without this.
    """
    return await _steps(work, take)


@types.coroutine
def _steps(work: Coroutine[object, None, T], take: Take) -> Generator[object, None, T]:
    error: BaseException | None = None
    try:
        while True:
            turn = take()
            if turn is not None:
                try:
                    yield from turn
                except asyncio.CancelledError as cancelled:
                    error = cancelled
            try:
                waiting = work.send(None) if error is None else work.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                error = None  # or it and this frame would keep each other
            awaited, waiting = _awaited(waiting), None
            error = yield from awaited
    finally:
        work.close()


def _awaited(waiting: object) -> Generator[object, None, BaseException | None]:
    """Wait for what a step awaits; returns what that raises, which is the work's to handle."""
    try:
        yield waiting
    except GeneratorExit:
        raise
    except BaseException as raised:  # noqa: BLE001  all of it is thrown into the work
        return raised
    finally:
        del waiting  # or it and this frame would keep each other
    return None


_whose: ContextVar[tuple[Take, Gate]] = ContextVar("turns")
"""As whom this request, and the tasks that it starts, take turns."""


def for_whom(work: Coroutine[object, None, T], take: Take, gate: Gate) -> Coroutine[object, None, T]:
    """``work`` in the turns of ``take``, and so whatever it starts with ``in_one_turn``, which passes ``gate``."""
    _whose.set((take, gate))
    return stepping(work, take)


async def in_one_turn(work: Coroutine[object, None, T]) -> T:
    """``work`` for a task of its own: one turn of the request that starts it, and all of its steps at once.

    For what is little and holds what others wait for: no step of it waits behind its user's other work. A few such
    works of one user run at the same time while others ask, and the rest wait before they begin.
    """
    try:
        take, gate = _whose.get((_at_once, _at_once))
        async with gate() or nullcontext():
            turn = take()
            if turn is not None:
                await turn
            return await work
    finally:
        work.close()


def _at_once() -> None:
    """For what nobody asked for over a connection."""


class Coming(Generic[T]):
    """Something awaited of which can be told first whether it is there at once. ``close`` it in any case."""

    def __init__(self, awaited: Awaitable[T]) -> None:
        self._steps = awaited.__await__()
        self._waiting: object = None
        self._pending = False
        self._there: list[T] = []

    def at_once(self) -> bool:
        """Go on until it is there, which ``True`` tells, or must be waited for. Raises what it raises."""
        self._go_on(None)
        return bool(self._there)

    def _go_on(self, error: BaseException | None) -> None:
        self._pending = False
        try:
            self._waiting = next(self._steps) if error is None else self._steps.throw(error)
            self._pending = True
        except StopIteration as end:
            self._there.append(end.value)
        finally:
            error = None  # or it and this frame would keep each other

    def __await__(self) -> Generator[object, None, T]:
        error: BaseException | None = None
        while not self._there:
            awaited, self._waiting = _awaited(self._waiting), None
            error = yield from awaited
            try:
                self._go_on(error)
            finally:
                error = None
        return self._there[0]

    def close(self) -> None:
        """What is waited for still is cancelled: closed alone, an asynchronous generator would be left running."""
        if self._pending:
            self._pending = False
            with suppress(asyncio.CancelledError, StopIteration, StopAsyncIteration):
                self._steps.throw(asyncio.CancelledError())
        self._steps.close()
