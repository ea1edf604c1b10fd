"""Nodes: what they have, and what they run."""

from __future__ import annotations

from hyperd.client.amounts import quantity
from tui import usage
from tui.kind import AGE, NAME, STATE, Field, Kind, at, size
from tui.usage import worth
from tui.widgets.rows import Column

KIND = Kind(
    "nodes",
    "nodes",
    ("node", "nodes", "no"),
    (
        NAME,
        STATE,
        Field(Column("CPU%", 9, right=True, rank=1, number=worth), live=usage.cpu),
        Field(Column("MEM%", 4, right=True, rank=1, number=worth), live=usage.memory),
        Field(Column("DISK%", 5, right=True, rank=1, number=worth), live=usage.storage),
        Field(Column("CPU", 4, right=True, rank=1, number=quantity), at(".status.capacity.cpu")),
        Field(Column("MEMORY", 11, right=True, rank=1, number=quantity), size(".status.capacity.memory")),
        Field(Column("VERSION", 16, grow=1, rank=2), at(".status.nodeInfo.kubeletVersion")),
        Field(Column("KERNEL", 20, grow=1, rank=3), at(".status.nodeInfo.kernelVersion")),
        AGE,
    ),
    digit="5",
    facts=(
        ("cpu", ".status.capacity.cpu"),
        ("memory", ".status.capacity.memory"),
        ("for guests", ".status.allocatable.memory"),
        ("kernel", ".status.nodeInfo.kernelVersion"),
        ("system", ".status.nodeInfo.osImage"),
    ),
    deletable=False,
)
