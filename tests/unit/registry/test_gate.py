"""Who may begin, as an order of events: w begins an import, e ends one, c comes to collect, seconds pass."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from registry.gate import ASKED_SECONDS, HELD_SECONDS, WriteGate
from registry.interface import POSTPONED, RETRY_SECONDS, Postponed


class Scene:
    """A gate, the imports in it, and a clock that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.gate = WriteGate(clock=lambda: self.now)
        self.running: list[ExitStack] = []

    def begins(self) -> bool:
        stack = ExitStack()
        try:
            stack.enter_context(self.gate.writing())
        except Postponed:
            return False
        self.running.append(stack)
        return True

    def ends(self) -> None:
        self.running.pop(0).close()

    def collects(self) -> bool:
        try:
            with self.gate.collecting():
                assert not self.begins(), "a collection is alone"
        except Postponed:
            return False
        return True

    def events(self, told: str) -> str:
        """What became of each event: upper case where it could."""
        outcome = ""
        for event in told:
            if event == "w":
                outcome += "W" if self.begins() else "w"
            elif event == "c":
                outcome += "C" if self.collects() else "c"
            else:
                self.ends()
                outcome += "E"
        return outcome


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ("wwec", "WWEc"),
        ("wcw", "Wcw"),
        ("wcwec", "WcwEC"),
        ("wwcwewewc", "WWcwEwEwC"),
        ("wcecw", "WcECW"),
        ("cwe", "CWE"),
    ],
)
def test_who_waits_to_collect_is_not_overtaken(told: str, outcome: str) -> None:
    assert Scene().events(told) == outcome


def test_who_comes_second_is_told_why_and_when_to_come_again() -> None:
    scene = Scene()
    with scene.gate.collecting(), pytest.raises(Postponed) as told, scene.gate.writing():
        pass
    assert (told.value.key, told.value.delay) == (POSTPONED, RETRY_SECONDS)


def test_an_endless_chain_of_imports_puts_a_collection_off_by_those_that_ran() -> None:
    scene = Scene()
    scene.events("www")
    tries = 0
    while not scene.collects():
        tries += 1
        assert tries <= 3, "imports overtake"
        scene.begins()
        scene.now += RETRY_SECONDS
        scene.begins()
        scene.ends()
    assert scene.begins()


def test_one_long_import_keeps_others_out_half_of_the_time_at_most() -> None:
    scene = Scene()
    assert scene.begins()
    kept_out = begun = 0
    for _ in range(int(10 * HELD_SECONDS / RETRY_SECONDS)):
        assert not scene.collects()
        if scene.begins():
            begun += 1
            scene.running.pop().close()
        else:
            kept_out += 1
        scene.now += RETRY_SECONDS
    assert begun >= kept_out > 0
    scene.ends()
    assert scene.collects()


def test_imports_do_not_wait_long_for_a_collection_that_does_not_come_again() -> None:
    scene = Scene()
    assert scene.events("wcw") == "Wcw"
    scene.now += ASKED_SECONDS
    assert scene.begins()
