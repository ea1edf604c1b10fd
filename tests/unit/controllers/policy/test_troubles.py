"""What is said of machines whose NetworkPolicies do not hold, once that has lasted."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd import clock
from hyperd.client.health import Level, health
from hyperd.client.why import why
from hyperd.controllers.machine.networking import show_cut_off
from hyperd.controllers.policy.troubles import UNREAD, Troubles
from hyperd.resources.values.conditions import find_condition
from hyperd.resources.values.meta import Key
from tests.parts import Part

WEB = {"uid": Key("shop", "web")}
SAID = "nft refused to guard: no such table."


class Told(Troubles):
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.woken: list[Key] = []
        self.changed = self.woken.append
        self._now = clock.elapsed()
        monkeypatch.setattr(clock, "elapsed", lambda: self._now)

    def after(self, seconds: float, *holding: str, **more: Any) -> str:
        self._now += seconds
        self.look(WEB, holding, **more)
        return self.of("uid")


def test_a_start_is_given_its_time_and_what_lasts_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    told.failed("uid", SAID)
    assert told.after(0) == ""
    assert told.after(9) == ""
    assert told.after(2) == f"The NetworkPolicies of the virtual machine do not hold: {SAID}"
    told.after(5)
    assert told.woken == [WEB["uid"]]
    told.held("uid")
    assert told.after(1, "uid") == ""
    assert len(told.woken) == 2
    assert told.after(100, "uid") == ""
    assert told.after(9) == "", "it is another time"


def test_policies_that_cannot_be_read_are_told_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    told.after(0, unread=True)
    assert told.after(11, unread=True) == UNREAD
    assert "not read or worked out" in told.after(1)


def test_nothing_is_said_of_a_machine_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    told.failed("uid", SAID)
    told.after(0)
    told.after(20)
    told.look({}, ())
    assert told.of("uid") == ""
    assert len(told.woken) == 1


def machine(*conditions: Part) -> Part:
    return {
        "kind": "VirtualMachine",
        "metadata": {"namespace": "shop", "name": "web", "generation": 1},
        "status": {"phase": "Running", "conditions": list(conditions)},
    }


def test_the_machine_says_it_and_is_not_well() -> None:
    obj = machine()
    show_cut_off(obj, "")
    assert health(obj).level is Level.GOOD
    show_cut_off(obj, f"The NetworkPolicies do not hold: {SAID}")
    found = find_condition(obj, "NetworkReady") or {}
    assert (found["status"], found["reason"]) == ("False", "NetworkNotReady")
    assert (health(obj).level, health(obj).word) == (Level.WAITING, "Running")
    cause = why(obj, lambda *_: None, lambda _: ())
    assert cause.text.endswith(SAID)
    assert "hv doctor" in cause.mend


def test_what_another_network_lacks_comes_first() -> None:
    lacks = {"type": "NetworkReady", "status": "False", "reason": "NetworkNotReady", "message": "No bridge."}
    obj = machine(lacks)
    show_cut_off(obj, "no nft")
    assert (find_condition(obj, "NetworkReady") or {})["message"] == "No bridge."
