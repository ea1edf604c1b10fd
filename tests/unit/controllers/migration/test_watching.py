"""What is told of a guest while it is sent, whether it is idle or busy, and when that takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd import clock
from hyperd.controllers.machine import holding
from hyperd.controllers.migration import departing
from hyperd.controllers.migration.departing import Departures
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.hypervisor.state import Transfer
from tests.parts import Part
from tests.unit.controllers.pod.machines import UID, machine

_OPERATION = "9b1c54f0-2f7d-4c1e-8f52-0c6a3e1d2b4f"
_RECORD = holding.Record(3, "here", "there", _OPERATION)
_GIB = 1 << 30
_LOOK = 0.5
"""Seconds that pass between two looks."""


class Sent:
    """A guest that is sent; ``transfer`` makes what libvirt says of it of the seconds that have passed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.transfer: Callable[[float], Transfer | None] = lambda _: None
        self.asked = True
        self.ends = ""
        self.stages: list[tuple[float, str, int]] = []
        self.done_after = float("inf")
        self._sending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(clock, "elapsed", lambda: self.seconds)
        monkeypatch.setattr(departing, "_LOOK_SECONDS", 0.0)
        monkeypatch.setattr(departing, "ends", lambda *_: self.ends)
        self.departures: Any = object.__new__(cast(Any, Departures))
        self.departures._stages = {}
        self.departures._pods = None
        self.departures._context = SimpleNamespace(hypervisor=SimpleNamespace(migrations=self))
        self.departures._operation = lambda *_: {} if self.asked else None

    async def progress(self, uid: str) -> Transfer | None:
        assert uid == UID
        if stage := self.departures._stages.get(_OPERATION):
            self.stages.append((self.seconds, stage.reason, stage.percent))
        self.seconds += _LOOK
        if self.seconds >= self.done_after:
            self._sending.set_result(None)
        return self.transfer(self.seconds)

    async def watch(self, total: int = _GIB) -> str:
        """Why it ended; empty where it was sent."""
        try:
            await self.departures._watch(machine(), _RECORD, self._sending, total)
        except PermanentError as error:
            return error.message
        return ""

    def reasons(self) -> list[str]:
        return list(dict.fromkeys(reason for _, reason, _ in self.stages))


@pytest.fixture
async def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(monkeypatch)


def busy(throttle: Callable[[float], int]) -> Callable[[float], Transfer]:
    """The guest changes as much as is sent."""
    return lambda now: Transfer(
        _GIB, int(now * 1e8), _GIB // 2, iteration=2 + int(now), seconds=now, throttle=throttle(now)
    )


async def test_an_idle_guest_is_told_of_until_it_is_sent(sent: Sent) -> None:
    sent.transfer = lambda now: Transfer(_GIB, int(now / 50 * _GIB), int((1 - now / 50) * _GIB), iteration=1)
    sent.done_after = 50.0
    assert await sent.watch() == ""
    assert sent.reasons() == ["Syncing"]
    percents = [percent for *_, percent in sent.stages]
    assert percents == sorted(percents)
    assert 10 <= percents[0] < percents[-1] <= 45


async def test_a_busy_one_that_nobody_may_slow_down_is_sent_until_its_time_is_over(sent: Sent) -> None:
    """800 s a GiB; meanwhile it is not said not to converge, as nobody has tried to have it do so."""
    sent.transfer = busy(lambda _: 0)
    assert await sent.watch(2 * _GIB) == "It was not done in 1600 s: the guest changes its memory faster."
    assert sent.seconds == pytest.approx(1600, abs=2 * _LOOK)
    assert sent.reasons() == ["Syncing"]


async def test_one_that_is_slowed_down_as_far_as_may_be_is_told_not_to_converge(sent: Sent) -> None:
    sent.transfer = busy(lambda now: min(99, int(now)))
    assert "It was not done in 800 s" in await sent.watch()
    assert sent.reasons() == ["Syncing", "NotConverging"]
    first = next(at for at, reason, _ in sent.stages if reason == "NotConverging")
    assert 99 + 10 - _LOOK <= first <= 99 + 10 + 3 * _LOOK


async def test_one_that_falls_again_converges(sent: Sent) -> None:
    slow, fast = busy(lambda _: 99), Transfer(_GIB, 1, 1 << 20, iteration=90, throttle=99)
    sent.transfer = lambda now: slow(now) if now < 60 else fast
    sent.done_after = 65.0
    assert await sent.watch() == ""
    assert sent.reasons() == ["Syncing", "NotConverging"]
    assert sent.departures._stages[_OPERATION].reason == "Syncing"


async def test_one_of_which_nothing_is_sent_ends_it(sent: Sent) -> None:
    sent.transfer = lambda now: Transfer(_GIB, 7, _GIB - 7, iteration=1)
    assert await sent.watch() == "Nothing could be sent for 150 s."


@pytest.mark.parametrize("load", ["idle", "busy"])
@pytest.mark.parametrize("throttle", [0, 99])
async def test_who_takes_it_back_is_heard_at_once(sent: Sent, load: str, throttle: int) -> None:
    remaining = _GIB // 2 if load == "busy" else 1 << 20

    def transfer(now: float) -> Transfer:
        sent.asked = now < 30
        return Transfer(_GIB, int(now * 1e8), remaining, iteration=3, throttle=throttle)

    sent.transfer = transfer
    assert await sent.watch() == "Nobody asks for it any more."
    assert sent.seconds == 30.0


async def test_a_pod_that_ends_ends_it(sent: Sent) -> None:
    def transfer(now: float) -> Transfer:
        sent.ends = "Pod p, to which it goes, ends." if now >= 20 else ""
        return Transfer(_GIB, int(now * 1e8), _GIB // 2, iteration=1)

    sent.transfer = transfer
    assert await sent.watch() == "Pod p, to which it goes, ends."


async def test_what_cannot_be_seen_for_a_moment_decides_nothing(sent: Sent) -> None:
    def transfer(now: float) -> Transfer | None:
        if now == 10.0:
            raise NotFound("It ends at this moment.")
        return None

    sent.transfer = transfer
    sent.done_after = 40.0
    assert await sent.watch() == ""


class Target:
    """Where a guest is to be made ready for; each answer is given once, the last one for ever."""

    def __init__(self, sent: Sent, *answers: Any) -> None:
        self._sent, self._answers = sent, list(answers)
        sent.departures._neighbours = self

    async def ask(self, node: str, uid: str, verb: str, body: Part) -> Part:
        assert (node, uid, verb) == ("there", UID, "prepare")
        self._sent.seconds += _LOOK
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def prepare(sent: Sent) -> Part:
    return await sent.departures._prepare(machine(), _RECORD, {})


async def test_it_waits_for_its_turn_there_for_as_long_as_that_takes(sent: Sent) -> None:
    Target(sent, *[{"waits": "Another one comes."}] * 1000, {"pod": "p"})
    assert await prepare(sent) == {"pod": "p"}
    assert sent.seconds > 400
    stage = sent.departures._stages[_OPERATION]
    assert (stage.reason, stage.percent, stage.message) == ("WaitingForSyncSlot", 4, "Another one comes.")


async def test_who_takes_it_back_while_it_waits_there_is_heard(sent: Sent) -> None:
    sent.asked = False
    for answer in ({"waits": "Another one comes."}, TemporaryError("It does not answer.")):
        Target(sent, answer)
        with pytest.raises((PermanentError, TemporaryError), match=r"Another one comes|does not answer"):
            await prepare(sent)


async def test_a_node_that_does_not_answer_is_waited_for_and_no_longer_than_two_minutes(sent: Sent) -> None:
    away = TemporaryError("The hyperd of node there cannot be reached.")
    Target(sent, *[away] * 200, {"pod": "p"})
    assert await prepare(sent) == {"pod": "p"}
    assert sent.departures._stages[_OPERATION].reason == "TargetPreparing"
    Target(sent, away)
    with pytest.raises(TemporaryError):
        await prepare(sent)
    assert sent.seconds >= 220
