"""The lines of an object's overview stand below each other, whatever is missing in them."""

from __future__ import annotations

import pytest
from rich.text import Text

from tui import detail, kinds
from tui.kinds.virtualmachines import notes
from tui.lines import pair, pairs
from tui.shelf import Object


def condition(kind: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


@pytest.mark.parametrize("width", [80, 120])
def test_what_conditions_say_begins_in_one_column(width: int) -> None:
    said = [
        condition("Running", "Ok", "with a reason"),
        condition("AgentReady", "", "without one"),
        condition("Migratable", "Migratable", "with its name for one"),
    ]
    obj = {"metadata": {"name": "web"}, "spec": {}, "status": {"phase": "Running", "conditions": said}}
    lines = [line.plain for line in detail.overview(kinds.load().by_word["vm"], obj, {}, width)]
    columns = [line.find(word) for word in ("Ok  with", "without", "with its") for line in lines if word in line]
    assert len(columns) == 3
    assert len(set(columns)) == 1, lines


def test_a_long_label_is_not_glued_to_what_it_says() -> None:
    assert pair("allocatable", Text("24Gi")).plain.endswith("allocatable 24Gi")
    assert pair("restart awaited by", Text("3")).plain.endswith(" 3")
    assert pair("age", Text("3")).plain.find("3") == pair("allocatabl", Text("3")).plain.find("3")


def test_what_a_node_has_is_told_in_units_that_people_read() -> None:
    obj = {"status": {"capacity": {"memory": "24684092Ki", "cpu": "4"}}}
    lines = [
        line.plain for line in pairs((("memory", ".status.capacity.memory"), ("cpu", ".status.capacity.cpu")), obj)
    ]
    assert [line.split() for line in lines] == [["memory", "24Gi"], ["cpu", "4"]]


def test_an_event_is_told_by_what_it_is_about() -> None:
    kind = kinds.load().by_word["event"]
    about = {"kind": "VirtualMachine", "name": "web"}
    obj = {"metadata": {"name": "web.17ab"}, "involvedObject": about, "reason": "Started", "type": "Warning"}
    lines = [line.plain.strip() for line in detail.overview(kind, obj, {}, 80)]
    assert lines[0].split() == ["state", "▲", "Started"]
    assert kind.called(obj) == "VirtualMachine/web"
    assert detail.overview(kinds.load().by_word["node"], {"kind": "Other"}, {}, 80)[0].plain.split()[0] == "age"


def test_a_row_tells_what_one_should_know_of_a_machine_that_runs() -> None:
    slow = condition("Running", "Running", "KVM cannot be used on this node: the guest is emulated and slow.")
    waits = condition("AwaitingRestartToApplyConfiguration", "ChangesPendingRestart", "memory.size waits")
    silent = {**condition("AgentReady", "AgentNotReady", ""), "status": "False"}

    def of(*conditions: Object) -> str:
        return notes({"status": {"conditions": list(conditions)}})

    assert of(silent, slow, waits) == "restart · emulated · no agent"
    assert of(silent, condition("Running", "Running", "")) == "no agent"
    assert of(silent, {**condition("Running", "Stopped", ""), "status": "False"}) == "", (
        "nobody is there to answer"
    )
    assert of({**waits, "status": "False"}) == ""
    assert notes({"status": {"conditions": "odd"}}) == ""
