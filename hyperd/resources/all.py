"""Every kind at once: importing this fills ``KINDS``.

Clients that must start fast use ``hyperd.resources.index`` instead.
"""

from hyperd.resources.cluster_virtual_image import CLUSTER_VIRTUAL_IMAGE
from hyperd.resources.core import (
    CONFIG_MAP,
    EVENT,
    LEASE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SECRET,
    SERVICE,
    STORAGE_CLASS,
)
from hyperd.resources.kind import KINDS
from hyperd.resources.virtual_disk import VIRTUAL_DISK
from hyperd.resources.virtual_image import VIRTUAL_IMAGE
from hyperd.resources.virtual_machine import VIRTUAL_MACHINE
from hyperd.resources.virtual_machine_class import VIRTUAL_MACHINE_CLASS
from hyperd.resources.virtual_machine_ip_address import VIRTUAL_MACHINE_IP_ADDRESS
from hyperd.resources.virtual_machine_ip_address_lease import VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.virtual_machine_operation import VIRTUAL_MACHINE_OPERATION

__all__ = [
    "CLUSTER_VIRTUAL_IMAGE",
    "CONFIG_MAP",
    "EVENT",
    "KINDS",
    "LEASE",
    "NAMESPACE",
    "NODE",
    "PERSISTENT_VOLUME",
    "PERSISTENT_VOLUME_CLAIM",
    "POD",
    "SECRET",
    "SERVICE",
    "STORAGE_CLASS",
    "VIRTUAL_DISK",
    "VIRTUAL_IMAGE",
    "VIRTUAL_MACHINE",
    "VIRTUAL_MACHINE_CLASS",
    "VIRTUAL_MACHINE_IP_ADDRESS",
    "VIRTUAL_MACHINE_IP_ADDRESS_LEASE",
    "VIRTUAL_MACHINE_OPERATION",
]
