"""Machines and their instances, as the reference's KubeVirt shows them: made when they are read, and never stored.

Clients of the reference look there for what its own kinds do not tell: under which serial a guest finds a device,
on which bus it is, and which volumes its instance has. Only a home of one machine has them; in a cluster the kind
would be KubeVirt's own.
"""

from __future__ import annotations

from typing import Final

from hyperd.resources.core.schemas import Schema, block, flag, kind, many, number, open_block, strings, text
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import INSTANCE_GROUP

_ON: Final = block(
    "How it is attached.", bus=text("The bus, such as scsi."), readonly=flag("Whether it is never written.")
)
_DISK: Final = block(
    "One device of the guest.",
    name=text("The volume of the same name."),
    serial=text("The serial that the guest reads; optical drives have none."),
    bootOrder=number("When the firmware tries it."),
    disk=_ON,
    cdrom=_ON,
)
_INTERFACE: Final = block(
    "One network card.",
    name=text("Its name."),
    macAddress=text("Its MAC address."),
    model=text("What the guest has, such as virtio."),
)
_SPEC: Final = block(
    "What it is made of.",
    nodeSelector=strings("Labels of nodes that may run it."),
    domain=block(
        "The guest.",
        devices=block("Its devices.", disks=many("Disks.", _DISK), interfaces=many("Network cards.", _INTERFACE)),
    ),
    volumes=many("Where its disks come from.", open_block("One volume.", name=text("Its name."))),
)
_INSTANCE: Final[Schema] = kind(
    "A virtual machine that runs, as KubeVirt tells of it.",
    spec=_SPEC,
    status=block(
        "What became of it.",
        phase=text("Scheduling or Running."),
        nodeName=text("Where it runs."),
        volumeStatus=many(
            "State of its volumes.",
            open_block(
                "One volume.",
                name=text("Its name."),
                target=text("Such as sda."),
                phase=text("Ready once attached."),
            ),
        ),
    ),
)

_MACHINE: Final[Schema] = kind(
    "A virtual machine, whether or not it runs, as KubeVirt tells of it.",
    spec=block("What it is to be.", template=block("Of its instances.", spec=_SPEC)),
    status=block(
        "What became of it.",
        created=flag("Whether it has an instance."),
        ready=flag("Whether that runs."),
        printableStatus=text("In one word."),
    ),
)

INTERNAL_MACHINE = KINDS.add(
    Kind(
        group=INSTANCE_GROUP,
        version="v1",
        kind="InternalVirtualizationVirtualMachine",
        plural="internalvirtualizationvirtualmachines",
        singular="internalvirtualizationvirtualmachine",
        namespaced=True,
        short_names=("intvirtvm", "intvirtvms"),
        columns=(
            Column("Name", ".metadata.name", format="name", description="Name of the machine"),
            Column("Status", ".status.printableStatus", description="State of the machine"),
            Column("Ready", ".status.ready", type="boolean", description="Whether its instance runs"),
            Column("Age", ".metadata.creationTimestamp", type="date", description="When the machine was created"),
        ),
        verbs=("get", "list", "watch"),
        openapi=_MACHINE,
    )
)
INTERNAL_INSTANCE = KINDS.add(
    Kind(
        group=INSTANCE_GROUP,
        version="v1",
        kind="InternalVirtualizationVirtualMachineInstance",
        plural="internalvirtualizationvirtualmachineinstances",
        singular="internalvirtualizationvirtualmachineinstance",
        namespaced=True,
        short_names=("intvirtvmi", "intvirtvmis"),
        columns=(
            Column("Name", ".metadata.name", format="name", description="Name of the machine"),
            Column("Phase", ".status.phase", description="State of the instance"),
            Column("NodeName", ".status.nodeName", description="Where it runs"),
            Column("Age", ".metadata.creationTimestamp", type="date", description="When the machine was created"),
        ),
        verbs=("get", "list", "watch"),
        openapi=_INSTANCE,
    )
)
