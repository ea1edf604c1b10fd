"""Snapshots of disks, those that are a part of a machine's among them."""

from __future__ import annotations

from hyperd.client import snapshots
from hyperd.client.shapes import mapping, mappings
from tui.kind import AGE, NAME, NAMESPACE, STATE, Field, Kind, at
from tui.kinds.virtualmachinesnapshots import relations, sure
from tui.shelf import Object
from tui.widgets.rows import Column


def _owner(obj: Object) -> str:
    owners = mappings(mapping(obj.get("metadata")).get("ownerReferences"))
    return next((str(each.get("name")) for each in owners if snapshots.owned(obj)), "")


def _uses(obj: Object) -> str:
    owner = _owner(obj)
    return f"It is a part of the machine's snapshot {owner}, which is lost with it." if owner else ""


KIND = Kind(
    "virtualdisksnapshots",
    "snapshots of disks",
    ("disksnapshots", "vds", "vdsnapshot", "vdsnapshots", "virtualdisksnapshot", "virtualdisksnapshots"),
    (
        NAME,
        NAMESPACE,
        STATE,
        Field(Column("DISK", 16, grow=1, rank=1), at(".spec.virtualDiskName")),
        Field(Column("PART OF", 12, grow=1, rank=3), _owner),
        Field(Column("CONSISTENT", 10, rank=2), sure),
        AGE,
    ),
    digit="9",
    sort="AGE",
    reverse=True,
    empty=("There is no snapshot of a disk here yet.", "2 shows disks, T takes a snapshot of one"),
    facts=(
        ("disk", ".spec.virtualDiskName"),
        ("consistent", ".status.consistent"),
        ("size", ".status.source.size"),
    ),
    relations=relations,
    editable=False,
    loss="Nobody can go back to it any more.",
    uses=_uses,
)
