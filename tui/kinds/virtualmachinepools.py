"""Pools: how many machines of one template there are, and who goes first."""

from __future__ import annotations

from collections.abc import Iterable

from hyperd.client.health import Health
from tui.kind import AGE, NAME, NAMESPACE, STATE, Field, Kind, Value, at
from tui.shelf import Object
from tui.widgets.rows import Column


def machines(obj: Object) -> Value:
    """How many there are, of how many that are wanted."""
    spec, status = obj.get("spec"), obj.get("status")
    wanted = spec.get("replicas", 0) if isinstance(spec, dict) else 0
    there = status.get("replicas", 0) if isinstance(status, dict) else 0
    return str(there) if there == wanted else f"{there} of {wanted}"


def relations(obj: Object) -> Iterable[str]:
    """The machines that its conditions speak of: they keep it from being well."""
    from hyperd.client.why import members_named

    return (f"VirtualMachine/{name}" for name in members_named(obj))


def _running(obj: Object, state: Health) -> str:
    name = (obj.get("metadata") or {}).get("name")
    return f"{name} {machines(obj)}" if state.word == "Progressing" else ""


KIND = Kind(
    "virtualmachinepools",
    "pools",
    ("pool", "pools", "vmpool", "vmpools", "virtualmachinepool", "virtualmachinepools"),
    (
        NAME,
        NAMESPACE,
        STATE,
        Field(Column("MACHINES", 10, rank=1), machines),
        Field(Column("READY", 6, rank=1), at(".status.readyReplicas")),
        Field(Column("UPDATED", 8, rank=3), at(".status.updatedReplicas")),
        Field(Column("DOWN", 12, rank=2), at(".spec.scaleDownPolicy")),
        AGE,
    ),
    empty=("There is no pool here yet.", "hv apply makes one of a manifest"),
    running=_running,
    facts=(
        ("machines", ".spec.replicas"),
        ("there", ".status.replicas"),
        ("ready", ".status.readyReplicas"),
        ("updated", ".status.updatedReplicas"),
        ("restart", ".status.restartPendingReplicas"),
        ("goes first", ".spec.scaleDownPolicy"),
        ("selector", ".status.selector"),
    ),
    relations=relations,
    loss="Its machines and their disks go with it, those that are kept as well.",
)
