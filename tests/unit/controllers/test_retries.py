from __future__ import annotations

import copy
from typing import Any

import pytest

from hyperd.controllers.retries import LAST_SECONDS, SOON_SECONDS, Retries
from hyperd.errors import TemporaryError
from registry.interface import POSTPONED, NotBegun


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def image() -> dict[str, Any]:
    return {"metadata": {"uid": "u1"}, "status": {}}


def retries(clock: Clock) -> Retries:
    return Retries(now=clock, jitter=lambda: 0.0)


def test_each_failure_waits_longer_up_to_a_limit() -> None:
    waits, obj = retries(Clock()), image()
    delays = [waits.failed(obj, TemporaryError("no")) for _ in range(10)]
    assert delays[:4] == [5, 10, 20, 40]
    assert delays[-1] == LAST_SECONDS
    assert obj["status"]["retry"] == {"failures": 10, "afterSeconds": LAST_SECONDS}


@pytest.mark.parametrize(("asked", "waited"), [(None, 5), (0, 5), (3, 5), (7, 7), (900, 900)])
def test_nobody_is_asked_again_before_it_says(asked: float | None, waited: float) -> None:
    assert retries(Clock()).failed(image(), TemporaryError("busy", delay=asked)) == waited


def test_what_is_our_own_to_mend_is_tried_soon_and_a_collection_is_no_failure() -> None:
    waits, obj = retries(Clock()), image()
    assert [waits.failed(obj, NotBegun("down")) for _ in range(8)][-1] == SOON_SECONDS
    assert waits.failed(obj, TemporaryError("gc", key=POSTPONED, delay=15)) == 15
    assert obj["status"]["retry"]["failures"] == 8


def test_a_restart_goes_on_waiting_for_what_was_left() -> None:
    clock, obj = Clock(), image()
    before = retries(clock)
    before.failed(obj, TemporaryError("busy", delay=200))
    clock.now += 150
    assert before.left(obj) == 50
    assert obj["status"]["retry"]["afterSeconds"] == 50
    stored, later = copy.deepcopy(obj), Clock()
    later.now = 3.0  # another boot's clock
    after = retries(later)
    assert after.left(stored) == 50
    later.now += 51
    assert after.left(stored) == 0
    assert after.failed(stored, TemporaryError("no")) == 10


def test_the_wait_is_written_down_now_and_then_only() -> None:
    clock, obj = Clock(), image()
    waits = retries(clock)
    waits.failed(obj, TemporaryError("busy", delay=100))
    clock.now += 20
    assert waits.left(obj) == 80
    assert obj["status"]["retry"]["afterSeconds"] == 100
    assert 0 < waits.look_again(80) < 80


def test_a_forged_wait_ends() -> None:
    obj = image()
    obj["status"]["retry"] = {"failures": 3, "afterSeconds": 1 << 60}
    assert retries(Clock()).left(obj) <= 7200


def test_what_is_asked_for_anew_waits_no_longer() -> None:
    waits, obj = retries(Clock()), image()
    waits.failed(obj, TemporaryError("no"))
    waits.forget(obj)
    assert waits.left(obj) == 0
    assert "retry" not in obj["status"]
