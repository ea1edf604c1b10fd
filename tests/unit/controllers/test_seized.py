"""What a machine's status says of restores and snapshots of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.machine.operations import index_operations
from hyperd.controllers.machine.seized import Seized
from hyperd.resources.all import VIRTUAL_MACHINE_OPERATION, VIRTUAL_MACHINE_SNAPSHOT
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.conditions import find_condition
from tests.parts import Part
from tests.unit.controllers.test_attachments import context_of


def meta(name: str, **more: str) -> Part:
    return {"namespace": "default", "name": name, "uid": f"uid-{name}", **more}


def snapshot(phase: str, *, of: str = "vm", **more: str) -> Part:
    found: Part = {"metadata": meta("s", **more), "spec": {"virtualMachineName": of}}
    return {**found, "status": {"phase": phase}} if phase else found


def shown(type_: str, operation: Part | None = None, taken: Part | None = None, *, frozen: bool = False) -> str:
    """Reason of the condition; empty where there is none."""
    found: list[tuple[Kind, Part]] = []
    if operation is not None:
        found.append((VIRTUAL_MACHINE_OPERATION, operation))
    if taken is not None:
        found.append((VIRTUAL_MACHINE_SNAPSHOT, taken))
    stale = {"type": type_, "status": "True", "reason": "Stale", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    machine: Part = {"metadata": {**meta("vm"), "generation": 1}, "status": {"conditions": [stale]}}
    informer = context_of(*found).informer
    hypervisor = SimpleNamespace(holds=SimpleNamespace(is_frozen=lambda uid: frozen))
    context = cast(Context, SimpleNamespace(informer=informer, hypervisor=hypervisor))
    index_operations(context.informer(VIRTUAL_MACHINE_OPERATION))
    Seized(context).show(machine)
    return str((find_condition(machine, type_) or {}).get("reason", ""))


@pytest.mark.parametrize("frozen", [True, False])
def test_who_holds_the_guest_frozen_shows(frozen: bool) -> None:
    assert shown("FilesystemFrozen", frozen=frozen) == ("Frozen" if frozen else "")


@pytest.mark.parametrize(
    ("taken", "reason"),
    [
        (snapshot("InProgress"), "SnapshottingInProgress"),
        (snapshot("Pending"), "WaitingForTheSnapshotToStart"),
        (snapshot(""), "WaitingForTheSnapshotToStart"),
        (snapshot("Ready"), ""),
        (snapshot("Failed"), ""),
        (snapshot("InProgress", of="other"), ""),
        (snapshot("InProgress", deletionTimestamp="now"), ""),
        (None, ""),
    ],
)
def test_a_snapshot_that_is_taken_shows(taken: Part | None, reason: str) -> None:
    assert shown("Snapshotting", taken=taken) == reason


@pytest.mark.parametrize(
    ("type_", "phase", "maintenance", "reason"),
    [
        ("Restore", "InProgress", "True", "RestoreInProgress"),
        ("Restore", "InProgress", "False", ""),
        ("Restore", "Failed", "True", ""),
        ("Stop", "InProgress", "True", ""),
    ],
)
def test_a_restore_that_has_the_machine_shows(type_: str, phase: str, maintenance: str, reason: str) -> None:
    condition = {"type": "MaintenanceMode", "status": maintenance, "reason": "r"}
    operation = {
        "metadata": meta("op"),
        "spec": {"type": type_, "virtualMachineName": "vm"},
        "status": {"phase": phase, "conditions": [condition]},
    }
    assert shown("Maintenance", operation) == reason
