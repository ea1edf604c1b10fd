"""Every controller of the kinds: the one list that names them."""

from __future__ import annotations

from functools import partial
from typing import Final

from hyperd.controllers.address.controller import AddressController
from hyperd.controllers.address.lease import LeaseController
from hyperd.controllers.attachment.controller import AttachmentController
from hyperd.controllers.context import Context
from hyperd.controllers.disk.controller import DiskController
from hyperd.controllers.image.controller import ImageController
from hyperd.controllers.macaddress.controller import MACAddressController
from hyperd.controllers.macaddress.leases import MACLeaseController
from hyperd.controllers.machine.controller import MachineController
from hyperd.controllers.machine.holders import holder
from hyperd.controllers.machine_class import MachineClassController
from hyperd.controllers.node.controller import NodeController
from hyperd.controllers.operation.controller import OperationController
from hyperd.controllers.placement.binding import DiskBinder, MachineBinder
from hyperd.controllers.placement.interface import Placement
from hyperd.controllers.pod.claiming import ClaimController
from hyperd.controllers.pod.controller import PodController
from hyperd.controllers.pod.straying import PlacementUpdates
from hyperd.controllers.pod.updating import FirmwareUpdates
from hyperd.controllers.pool.controller import PoolController
from hyperd.controllers.snapshot.disk import DiskSnapshotController
from hyperd.controllers.snapshot.machine import MachineSnapshotController
from hyperd.controllers.snapshot.operating import SnapshotOperationController
from hyperd.controllers.unbuilt import UnbuiltController, unbuilt_controllers
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_IMAGE
from hyperd.runtime.controller import Controller

CONTROLLERS: Final[tuple[type[Controller], ...]] = (
    AddressController, AttachmentController, ClaimController, DiskBinder, DiskController, DiskSnapshotController,
    ImageController, LeaseController, MACAddressController, MACLeaseController, MachineBinder,
    MachineClassController, MachineController, MachineSnapshotController, NodeController, OperationController,
    FirmwareUpdates, PlacementUpdates, PodController, PoolController, SnapshotOperationController,
    UnbuiltController,
)  # fmt: skip
"""What any home may run; a cluster's role is made of what they declare."""


def controllers(context: Context, placement: Placement) -> list[Controller]:
    """Those of every home, wired to each other. A home's placement adds its own."""
    allocator, machines = AddressController(context), MachineController(context, placement)
    held = partial(holder, context)
    return [
        NodeController(context),
        MachineClassController(context),
        ImageController(context, VIRTUAL_IMAGE, held=held),
        ImageController(context, CLUSTER_VIRTUAL_IMAGE, held=held),
        DiskController(context, placement),
        DiskSnapshotController(context),
        MachineSnapshotController(context),
        SnapshotOperationController(context),
        allocator,
        LeaseController(context, allocator),
        MACAddressController(context),
        MACLeaseController(context),
        OperationController(context, busy=machines.queue.busy, moves=placement.moves),
        AttachmentController(context, machines.plugs()),
        machines,
        PoolController(context),
        *unbuilt_controllers(context),
    ]
