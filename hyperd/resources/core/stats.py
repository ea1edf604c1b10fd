"""What guests and nodes have used so far: kinds that are measured when they are read, and never stored.

All are counters, with the node's own clock beside them: a rate is the difference of two samples, whoever takes
them and however late. A counter that fell began anew, with another QEMU.
"""

from __future__ import annotations

from typing import Final

from hyperd.resources.core.schemas import Schema, block, kind, text, time
from hyperd.resources.schema.kind import KINDS, Column, Kind

GROUP: Final = "stats.virtualization.deckhouse.io"
_READ_ONLY: Final = ("get", "list", "watch")
_NAME: Final = Column("Name", ".metadata.name", format="name", description="Name of the object")


def _count(doc: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": doc}


def _each(doc: str, **properties: Schema) -> Schema:
    return {"type": "array", "items": block("One of them.", **properties), "description": doc}


_SAMPLED: Final = {
    "node": text("The node that was asked."),
    "timestamp": time("When, for people."),
    "uptimeNanoseconds": _count("When, by the clock of the node, which nobody can set: rates are made of it."),
}
_MACHINE: Final = kind(
    "What a running machine has used since its QEMU started.",
    **_SAMPLED,
    cpu=block(
        "Its processors.",
        cores=_count("How many it has now."),
        nanoseconds=_count("For how long they ran, all together."),
        waitNanoseconds=_count("For how long they waited for a processor of the node."),
    ),
    memory=block(
        "Its memory.",
        bytes=_count("What the guest has."),
        residentBytes=_count("What its QEMU holds of the node's."),
        usableBytes=_count("What the guest could still use without swapping; only where its balloon tells."),
    ),
    disks=_each(
        "Its disks.",
        target=text("The name of the device."),
        readBytes=_count("Read."),
        readRequests=_count("Reads."),
        writeBytes=_count("Written."),
        writeRequests=_count("Writes."),
    ),
    interfaces=_each(
        "Its network cards, as the guest counts.",
        name=text("The tap."),
        receivedBytes=_count("Received."),
        sentBytes=_count("Sent."),
    ),
)
_NODE: Final = kind(
    "What a node has, and has used since its start.",
    **_SAMPLED,
    cpu=block(
        "Its processors.",
        cores=_count("How many it has."),
        nanoseconds=_count("For how long they were busy, all together."),
        waitNanoseconds=_count("For how long they waited for disks."),
    ),
    memory=block(
        "Its memory.", bytes=_count("All of it."), availableBytes=_count("What programs could still get.")
    ),
    storage=block(
        "Where disks and images are kept.", bytes=_count("All of it."), availableBytes=_count("What is free.")
    ),
    machines=_count("Guests that run on it."),
)

VIRTUAL_MACHINE_STATS = KINDS.add(
    Kind(
        group=GROUP,
        version="v1alpha1",
        kind="VirtualMachineStats",
        plural="virtualmachinestats",
        singular="virtualmachinestats",
        namespaced=True,
        short_names=("vmstats",),
        columns=(
            _NAME,
            Column("Node", ".node", description="Where it runs"),
            Column("CPU ns", ".cpu.nanoseconds", type="integer", description="For how long its processors ran"),
            Column("Resident", ".memory.residentBytes", type="integer", description="Bytes of the node's memory"),
        ),
        verbs=_READ_ONLY,
        openapi=_MACHINE,
    )
)
NODE_STATS = KINDS.add(
    Kind(
        group=GROUP,
        version="v1alpha1",
        kind="NodeStats",
        plural="nodestats",
        singular="nodestats",
        namespaced=False,
        columns=(
            _NAME,
            Column("Machines", ".machines", type="integer", description="Guests that run on it"),
            Column("CPU ns", ".cpu.nanoseconds", type="integer", description="For how long it was busy"),
            Column("Memory free", ".memory.availableBytes", type="integer", description="In bytes"),
            Column("Storage free", ".storage.availableBytes", type="integer", description="In bytes"),
        ),
        verbs=_READ_ONLY,
        openapi=_NODE,
    )
)
