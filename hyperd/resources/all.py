"""Every kind at once: importing this fills ``KINDS``.

Clients that must start fast use ``hyperd.resources.index`` instead.
"""

from hyperd.resources.core.events_v1 import EVENT_V1
from hyperd.resources.core.kinds import (
    CONFIG_MAP,
    EVENT,
    LEASE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    STORAGE_CLASS,
)
from hyperd.resources.kinds.cluster_virtual_image import CLUSTER_VIRTUAL_IMAGE
from hyperd.resources.kinds.usb_device import NODE_USB_DEVICE, USB_DEVICE
from hyperd.resources.kinds.virtual_disk import VIRTUAL_DISK
from hyperd.resources.kinds.virtual_disk_snapshot import VIRTUAL_DISK_SNAPSHOT
from hyperd.resources.kinds.virtual_image import VIRTUAL_IMAGE
from hyperd.resources.kinds.virtual_machine import VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine_block_device_attachment import VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
from hyperd.resources.kinds.virtual_machine_class import VIRTUAL_MACHINE_CLASS
from hyperd.resources.kinds.virtual_machine_class_v1alpha3 import VIRTUAL_MACHINE_CLASS_V1ALPHA3
from hyperd.resources.kinds.virtual_machine_ip_address import VIRTUAL_MACHINE_IP_ADDRESS
from hyperd.resources.kinds.virtual_machine_ip_address_lease import VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_mac_address import VIRTUAL_MACHINE_MAC_ADDRESS
from hyperd.resources.kinds.virtual_machine_mac_address_lease import VIRTUAL_MACHINE_MAC_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_operation import VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_pool import VIRTUAL_MACHINE_POOL
from hyperd.resources.kinds.virtual_machine_snapshot import VIRTUAL_MACHINE_SNAPSHOT
from hyperd.resources.kinds.virtual_machine_snapshot_operation import VIRTUAL_MACHINE_SNAPSHOT_OPERATION
from hyperd.resources.schema.kind import KINDS

__all__ = [
    "CLUSTER_VIRTUAL_IMAGE",
    "CONFIG_MAP",
    "EVENT",
    "EVENT_V1",
    "KINDS",
    "LEASE",
    "NAMESPACE",
    "NODE",
    "NODE_USB_DEVICE",
    "PERSISTENT_VOLUME",
    "PERSISTENT_VOLUME_CLAIM",
    "POD",
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
]
