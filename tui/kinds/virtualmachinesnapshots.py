"""Snapshots of machines: of which, how sure, and how old."""

from __future__ import annotations

from collections.abc import Iterable

from hyperd.client import snapshots
from tui.kind import AGE, NAME, NAMESPACE, STATE, Field, Kind, Value, at
from tui.shelf import Object
from tui.widgets.rows import Column


def sure(obj: Object) -> Value:
    """Whether nothing was being written at that moment."""
    status = obj.get("status")
    consistent = status.get("consistent") if isinstance(status, dict) else None
    return "yes" if consistent is True else "no" if consistent is False else None


def relations(obj: Object) -> Iterable[str]:
    """What it is of, and what it holds."""
    yield "/".join(snapshots.source(obj))
    yield from (f"{kind}/{name}" for kind, name in snapshots.parts_of_snapshot(obj))


KIND = Kind(
    "virtualmachinesnapshots",
    "snapshots of machines",
    ("snapshots", "vms", "vmsnapshot", "vmsnapshots", "virtualmachinesnapshot", "virtualmachinesnapshots"),
    (
        NAME,
        NAMESPACE,
        STATE,
        Field(Column("MACHINE", 16, grow=1, rank=1), at(".spec.virtualMachineName")),
        Field(Column("CONSISTENT", 10, rank=2), sure),
        AGE,
    ),
    digit="8",
    sort="AGE",
    reverse=True,
    empty=("There is no snapshot of a machine here yet.", "1 shows machines, T takes a snapshot of one"),
    facts=(
        ("machine", ".spec.virtualMachineName"),
        ("consistent", ".status.consistent"),
        ("address", ".spec.keepIPAddress"),
        ("disks", ".status.virtualDiskSnapshotNames"),
    ),
    relations=relations,
    editable=False,
    loss="Nobody can go back to it any more.",
)
