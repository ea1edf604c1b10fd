"""How objects are read for people: health, ages, paths."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.client import ages
from hyperd.client.health import Health, Level, condition_level, health
from hyperd.client.paths import segment
from hyperd.controllers.image.transfer import progress_message
from hyperd.progress import Progress
from hyperd.resources.values.jsonpath import value_at

API = "virtualization.deckhouse.io/v1alpha2"


def thing(kind: str, phase: str = "", *conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    body = {**({"phase": phase} if phase else {}), "conditions": list(conditions), **status}
    return {"apiVersion": API, "kind": kind, "metadata": {"name": "a"}, "spec": {}, "status": body}


def condition(type_: str, status: str, message: str = "", reason: str = "R") -> dict[str, Any]:
    return {"type": type_, "status": status, "message": message, "reason": reason}


def test_a_machine_that_waits_says_for_what_not_that_it_is_not_running() -> None:
    state = health(
        thing(
            "VirtualMachine", "Pending", condition("Running", "False", "not running"),
            condition("BlockDevicesReady", "False", "disk root is not ready"),
        )
    )  # fmt: skip
    assert (state.level, state.word, state.reason) == (Level.WAITING, "Pending", "disk root is not ready")


def test_quiet_conditions_do_not_alarm() -> None:
    disk = thing("VirtualDisk", "Ready", condition("InUse", "False", reason="NotInUse"))
    assert (health(disk).level, health(disk).reason) == (Level.GOOD, "")


@pytest.mark.parametrize(
    "kind", ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "Degraded"]
)
def test_what_is_bad_when_it_is_so_is_no_fault_when_it_is_not(kind: str) -> None:
    assert condition_level(condition(kind, "False"), Level.GOOD) is Level.OFF
    assert condition_level(condition(kind, "True"), Level.GOOD) is Level.WAITING
    assert condition_level(condition("Ready", "False"), Level.GOOD) is Level.WAITING


def test_a_running_machine_that_needs_a_restart_says_so() -> None:
    waiting = condition("AwaitingRestartToApplyConfiguration", "True", "cores 1 → 2")
    assert health(thing("VirtualMachine", "Running", waiting)).reason == "cores 1 → 2"


def test_progress_is_told_only_on_the_way() -> None:
    importing = thing("VirtualImage", "Provisioning", progress="37.2%", downloadSpeed={"current": "84Mi"})
    assert health(importing).progress == "37.2 % · 84Mi/s"
    assert health(thing("VirtualImage", "Ready", progress="100%")).progress == ""


def test_what_progress_says_is_not_said_again_as_the_reason() -> None:
    said = progress_message(Progress(0.25, 25 << 20, 10 << 20, 10 << 20))
    status = {"progress": "25.0%", "downloadSpeed": {"current": "10Mi/s"}}
    state = health(thing("VirtualImage", "Provisioning", condition("Ready", "False", said), **status))
    assert (state.progress, state.reason) == ("25.0 % · 10Mi/s", "about 7 s left")
    waiting = thing("VirtualImage", "Provisioning", condition("Ready", "False", "Waiting for its turn."), **status)
    assert health(waiting).reason == "Waiting for its turn."


def test_an_object_that_nobody_looked_at_is_pending() -> None:
    assert health(thing("VirtualDisk")).level is Level.WAITING
    assert health({"apiVersion": "v1", "kind": "Secret", "metadata": {}}).level is Level.GOOD


@pytest.mark.parametrize(
    ("found", "level", "word", "reason"),
    [
        (condition("Ready", "True"), Level.GOOD, "", ""),
        (condition("Ready", "False", "no issuer"), Level.WAITING, "NotReady", "no issuer"),
        (condition("Available", "False", reason="Starting"), Level.WAITING, "NotAvailable", "Starting"),
        (condition("Failed", "True", "too often"), Level.BAD, "Failed", "too often"),
        (condition("Stalled", "False"), Level.GOOD, "", ""),
        ({"type": ["Ready"], "status": "False"}, Level.GOOD, "", ""),
    ],
)
def test_others_objects_without_a_phase_are_judged_by_the_usual_conditions(
    found: dict[str, Any], level: Level, word: str, reason: str
) -> None:
    state = health({"apiVersion": "certs.example/v1", "kind": "Certificate", "status": {"conditions": [found]}})
    assert (state.level, state.word, state.reason) == (level, word, reason)
    gone = {"apiVersion": "v1", "kind": "Secret", "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert health(gone).word == "Terminating"


def test_what_goes_away_says_terminating() -> None:
    obj = thing("VirtualDisk", "Ready")
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert health(obj).word == "Terminating"


@pytest.mark.parametrize(
    "status",
    [None, [], "text", {"phase": 7}, {"conditions": "x"}, {"conditions": [None, 3]}, {"downloadSpeed": []}],
)
def test_a_status_of_any_shape_is_survived(status: Any) -> None:
    obj = {"apiVersion": API, "kind": "VirtualMachine", "metadata": {}, "status": status}
    assert health(obj).word is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (3600, "60m"), (3 * 3600, "3h"), (14520, "4h2m"),
        (26 * 3600, "26h"), (3 * 86400, "3d"), (900 * 86400, "2y"), (-5, "0s"),
    ],
)  # fmt: skip
def test_spans_read_as_kubectl_writes_them(seconds: float, text: str) -> None:
    assert ages.span(seconds) == text


def test_times_with_fractions_are_read_and_nonsense_is_none() -> None:
    assert ages.parse("1970-01-01T00:01:00.123456Z") == 60.0
    assert ages.parse("yesterday") is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".status.phase", "Ready"),
        (".status.list[1]", "b"),
        (".status.conditions[?(@.type=='Ready')].status", "True"),
        ('.status.conditions[?(@.type=="None")].status', None),
        (r".metadata.annotations.example\.io/key", "v"),
        (".no.such", None),
        (".status.phase.deeper", None),
    ],
)
def test_paths_lead_where_kubectl_would_go(path: str, value: Any) -> None:
    obj = {
        "metadata": {"annotations": {"example.io/key": "v"}},
        "status": {"phase": "Ready", "list": ["a", "b"], "conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert value_at(obj, path) == value


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "a?x", "a b", "%2e%2e", "имя"])
def test_no_name_can_leave_its_path_segment(name: str) -> None:
    assert "/" not in segment(name)
    assert segment(name) not in (".", "..")
    assert "?" not in segment(name)


@pytest.mark.parametrize(
    ("type_", "status", "of", "level"),
    [
        ("Ready", "True", Level.GOOD, Level.GOOD),
        ("Ready", "False", Level.BUSY, Level.WAITING),
        ("Ready", "False", Level.BAD, Level.BAD),
        ("InUse", "False", Level.GOOD, Level.OFF),
        ("AwaitingRestartToApplyConfiguration", "True", Level.GOOD, Level.WAITING),
        ("AwaitingRestartToApplyConfiguration", "False", Level.GOOD, Level.OFF),
    ],
)
def test_a_condition_that_merely_does_not_hold_is_no_fault(
    type_: str, status: str, of: Level, level: Level
) -> None:
    assert condition_level({"type": type_, "status": status}, of) is level


def test_a_pool_is_as_well_as_its_number() -> None:
    def pool(*conditions: dict[str, str]) -> Health:
        status = {"conditions": list(conditions)} if conditions else {}
        return health(
            {
                "apiVersion": "virtualization.deckhouse.io/v1alpha2",
                "kind": "VirtualMachinePool",
                "metadata": {"name": "web"},
                "status": status,
            }
        )

    few = {"type": "Available", "status": "False", "message": "1 of 2 machines run."}
    moves = {"type": "Progressing", "status": "True", "message": "1 of 2 machines is there."}
    all_run = {"type": "Available", "status": "True"}
    for state, level, word in (
        (pool(), Level.WAITING, "Pending"),
        (pool(all_run), Level.GOOD, "Available"),
        (pool(all_run, moves), Level.BUSY, "Progressing"),
        (pool(few, moves), Level.BUSY, "Progressing"),
        (pool(few), Level.WAITING, "Unavailable"),
    ):
        assert (state.level, state.word) == (level, word)
    assert pool(few, moves).reason == "1 of 2 machines run."
