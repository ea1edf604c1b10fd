"""Operations: who asked what of which machine, newest first."""

from __future__ import annotations

from hyperd.client.health import Health
from tui.kind import AGE, NAME, NAMESPACE, STATE, Field, Kind, at
from tui.shelf import Object
from tui.widgets.rows import Column


def _running(obj: Object, state: Health) -> str:
    spec = obj.get("spec") or {}
    return (
        f"{str(spec.get('type')).lower()} {spec.get('virtualMachineName')}" if state.word == "InProgress" else ""
    )


KIND = Kind(
    "virtualmachineoperations",
    "operations",
    ("vmop", "vmops", "op", "ops", "operations"),
    (
        NAME,
        NAMESPACE,
        STATE,
        Field(Column("TYPE", 8, rank=1), at(".spec.type")),
        Field(Column("MACHINE", 16, grow=1, rank=1), at(".spec.virtualMachineName")),
        AGE,
    ),
    digit="6",
    sort="AGE",
    reverse=True,
    empty=("No operation is known.",),
    running=_running,
    facts=(("type", ".spec.type"), ("machine", ".spec.virtualMachineName"), ("force", ".spec.force")),
)
