"""Every kind at once: importing this fills ``KINDS``.

A kind is annotated with the view of its objects here, not in its own module: the view is made of that, and knows
its enums.

Clients that must start fast use ``hyperd.resources.index`` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.resources.core import kinds as core
from hyperd.resources.core.disruption import POD_DISRUPTION_BUDGET
from hyperd.resources.core.events_v1 import EVENT_V1
from hyperd.resources.core.instance import INTERNAL_INSTANCE, INTERNAL_MACHINE
from hyperd.resources.core.kinds import (
    CONFIG_MAP,
    EVENT,
    LEASE,
    NAMESPACE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
)
from hyperd.resources.core.networking import ENDPOINT_SLICE, NETWORK_POLICY
from hyperd.resources.core.stats import NODE_STATS, VIRTUAL_MACHINE_STATS
from hyperd.resources.kinds import (
    cluster_virtual_image,
    virtual_disk,
    virtual_disk_snapshot,
    virtual_image,
    virtual_machine,
    virtual_machine_block_device_attachment,
    virtual_machine_class,
    virtual_machine_ip_address,
    virtual_machine_ip_address_lease,
    virtual_machine_operation,
    virtual_machine_snapshot,
    virtual_machine_snapshot_operation,
)
from hyperd.resources.kinds.usb_device import NODE_USB_DEVICE, USB_DEVICE
from hyperd.resources.kinds.virtual_machine_class_v1alpha3 import VIRTUAL_MACHINE_CLASS_V1ALPHA3
from hyperd.resources.kinds.virtual_machine_mac_address import VIRTUAL_MACHINE_MAC_ADDRESS
from hyperd.resources.kinds.virtual_machine_mac_address_lease import VIRTUAL_MACHINE_MAC_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_pool import VIRTUAL_MACHINE_POOL
from hyperd.resources.schema.kind import KINDS, Kind

if TYPE_CHECKING:
    from hyperd.resources.views.cluster_virtual_image import ClusterVirtualImage
    from hyperd.resources.views.core import Node, StorageClass
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_disk_snapshot import VirtualDiskSnapshot
    from hyperd.resources.views.virtual_image import VirtualImage
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_block_device_attachment import VirtualMachineBlockDeviceAttachment
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass
    from hyperd.resources.views.virtual_machine_ip_address import VirtualMachineIPAddress
    from hyperd.resources.views.virtual_machine_ip_address_lease import VirtualMachineIPAddressLease
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation
    from hyperd.resources.views.virtual_machine_snapshot import VirtualMachineSnapshot
    from hyperd.resources.views.virtual_machine_snapshot_operation import VirtualMachineSnapshotOperation

NODE: Kind[Node] = core.NODE
STORAGE_CLASS: Kind[StorageClass] = core.STORAGE_CLASS
CLUSTER_VIRTUAL_IMAGE: Kind[ClusterVirtualImage] = cluster_virtual_image.CLUSTER_VIRTUAL_IMAGE
VIRTUAL_DISK: Kind[VirtualDisk] = virtual_disk.VIRTUAL_DISK
VIRTUAL_DISK_SNAPSHOT: Kind[VirtualDiskSnapshot] = virtual_disk_snapshot.VIRTUAL_DISK_SNAPSHOT
VIRTUAL_IMAGE: Kind[VirtualImage] = virtual_image.VIRTUAL_IMAGE
VIRTUAL_MACHINE: Kind[VirtualMachine] = virtual_machine.VIRTUAL_MACHINE
VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT: Kind[VirtualMachineBlockDeviceAttachment] = (
    virtual_machine_block_device_attachment.VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
)
VIRTUAL_MACHINE_CLASS: Kind[VirtualMachineClass] = virtual_machine_class.VIRTUAL_MACHINE_CLASS
VIRTUAL_MACHINE_OPERATION: Kind[VirtualMachineOperation] = virtual_machine_operation.VIRTUAL_MACHINE_OPERATION
VIRTUAL_MACHINE_IP_ADDRESS: Kind[VirtualMachineIPAddress] = virtual_machine_ip_address.VIRTUAL_MACHINE_IP_ADDRESS
VIRTUAL_MACHINE_IP_ADDRESS_LEASE: Kind[VirtualMachineIPAddressLease] = (
    virtual_machine_ip_address_lease.VIRTUAL_MACHINE_IP_ADDRESS_LEASE
)
VIRTUAL_MACHINE_SNAPSHOT: Kind[VirtualMachineSnapshot] = virtual_machine_snapshot.VIRTUAL_MACHINE_SNAPSHOT
VIRTUAL_MACHINE_SNAPSHOT_OPERATION: Kind[VirtualMachineSnapshotOperation] = (
    virtual_machine_snapshot_operation.VIRTUAL_MACHINE_SNAPSHOT_OPERATION
)

__all__ = [
    "CLUSTER_VIRTUAL_IMAGE",
    "CONFIG_MAP",
    "ENDPOINT_SLICE",
    "EVENT",
    "EVENT_V1",
    "INTERNAL_INSTANCE",
    "INTERNAL_MACHINE",
    "KINDS",
    "LEASE",
    "NAMESPACE",
    "NETWORK_POLICY",
    "NODE",
    "NODE_STATS",
    "NODE_USB_DEVICE",
    "PERSISTENT_VOLUME",
    "PERSISTENT_VOLUME_CLAIM",
    "POD",
    "POD_DISRUPTION_BUDGET",
    "RESOURCE_QUOTA",
    "SECRET",
    "SERVICE",
    "STORAGE_CLASS",
    "USB_DEVICE",
    "VIRTUAL_DISK",
    "VIRTUAL_DISK_SNAPSHOT",
    "VIRTUAL_IMAGE",
    "VIRTUAL_MACHINE",
    "VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT",
    "VIRTUAL_MACHINE_CLASS",
    "VIRTUAL_MACHINE_CLASS_V1ALPHA3",
    "VIRTUAL_MACHINE_IP_ADDRESS",
    "VIRTUAL_MACHINE_IP_ADDRESS_LEASE",
    "VIRTUAL_MACHINE_MAC_ADDRESS",
    "VIRTUAL_MACHINE_MAC_ADDRESS_LEASE",
    "VIRTUAL_MACHINE_OPERATION",
    "VIRTUAL_MACHINE_POOL",
    "VIRTUAL_MACHINE_SNAPSHOT",
    "VIRTUAL_MACHINE_SNAPSHOT_OPERATION",
    "VIRTUAL_MACHINE_STATS",
]
