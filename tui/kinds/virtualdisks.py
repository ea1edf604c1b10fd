"""Disks: how large, made of what, attached to which machine."""

from __future__ import annotations

from hyperd.client.amounts import quantity
from hyperd.resources.values.jsonpath import value_at
from tui.kind import AGE, NAME, NAMESPACE, STATE, Field, Kind, progress, size
from tui.shelf import Object
from tui.source import SOURCE
from tui.widgets.rows import Column


def _users(obj: Object) -> str:
    users = value_at(obj, ".status.attachedToVirtualMachines") or []
    return ", ".join(str(user.get("name", "")) for user in users if isinstance(user, dict))


def _uses(obj: Object) -> str:
    users = _users(obj)
    return f"Used by {users}: it goes when nothing uses it any more." if users else ""


KIND = Kind(
    "virtualdisks",
    "disks",
    ("vd", "virtualdisk", "virtualdisks", "disks"),
    (
        NAME,
        NAMESPACE,
        STATE,
        Field(Column("SIZE", 9, right=True, rank=1, number=quantity), size(".status.capacity")),
        Field(Column("MACHINE", 16, grow=1, rank=1), _users),
        SOURCE,
        AGE,
    ),
    digit="2",
    empty=("There is no disk here yet.", "hv apply -f disk.yaml   makes one, blank or from an image"),
    facts=(
        ("size", ".status.capacity"),
        ("class", ".status.storageClassName"),
        ("source", ".spec.dataSource.objectRef.name"),
        ("machine", ".status.attachedToVirtualMachines[0].name"),
    ),
    counted="vd",
    running=progress,
    uses=_uses,
)
