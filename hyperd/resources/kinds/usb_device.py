"""NodeUSBDevice and USBDevice: a device plugged into a node, and its mirror in the namespace that may use it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, Resource, Section
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import LIVE
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CATEGORY, GROUP, VERSION

_NOT_BUILT = "USB devices are not built yet: none is found, assigned or attached."


class USBCondition(StrEnum):
    READY = "Ready"
    ASSIGNED = "Assigned"
    """Of NodeUSBDevice only."""
    ATTACHED = "Attached"


class USBReadyReason(StrEnum):
    READY = "Ready"
    NOT_READY = "NotReady"
    NOT_FOUND = "NotFound"


class USBAssignedReason(StrEnum):
    ASSIGNED = "Assigned"
    AVAILABLE = "Available"
    IN_PROGRESS = "InProgress"


class USBAttachedReason(StrEnum):
    ATTACHED_TO_VIRTUAL_MACHINE = "AttachedToVirtualMachine"
    AVAILABLE = "Available"
    DETACHED_FOR_MIGRATION = "DetachedForMigration"
    NO_FREE_PORT = "NoFreeUSBIPPort"


class USBAttributes(Section):
    """What the device says of itself, and where it is."""

    vendor_id: Annotated[str | None, Field(alias="vendorID")] = None
    """Number of the vendor, four hexadecimal digits."""
    product_id: Annotated[str | None, Field(alias="productID")] = None
    """Number of the product, four hexadecimal digits."""
    bus: str | None = None
    """Number of the bus."""
    device_number: str | None = None
    """Number on the bus."""
    device_path: str | None = None
    """Path of the device on its node."""
    serial: str | None = None
    """Serial number."""
    manufacturer: str | None = None
    """Name of the manufacturer."""
    product: str | None = None
    """Name of the product."""
    name: str | None = None
    """Name of the device on its node."""
    node_name: str | None = None
    """Node that it is plugged into."""
    bcd: str | None = None
    """Release of the device, as it says."""
    major: int | None = None
    """Major number of the device file."""
    minor: int | None = None
    """Minor number of the device file."""
    speed: int | None = None
    """Speed of the connection, in Mbit/s."""


class NodeUSBDeviceSpec(Section):
    """Who may use the device."""

    assigned_namespace: Annotated[str, LIVE] = ""
    """Namespace whose virtual machines may use it; none when empty."""


class NodeUSBDeviceStatus(Section):
    """What the device is and who has it."""

    attributes: USBAttributes | None = None
    """What the device says of itself, and where it is."""
    node_name: str | None = None
    """Node that it is plugged into."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class NodeUSBDevice(Resource):
    """A USB device plugged into a node."""

    spec: NodeUSBDeviceSpec = NodeUSBDeviceSpec()
    """Who may use the device."""
    status: NodeUSBDeviceStatus = Field(default_factory=NodeUSBDeviceStatus)
    """What the device is and who has it."""


class USBDeviceStatus(Section):
    """What the device is and who has it."""

    attributes: USBAttributes | None = None
    """What the device says of itself, and where it is."""
    node_name: str | None = None
    """Node that it is plugged into."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the object that this status is about."""


class USBDevice(Resource):
    """A USB device that the namespace's virtual machines may use; mirrors the NodeUSBDevice of its name."""

    status: USBDeviceStatus = Field(default_factory=USBDeviceStatus)
    """What the device is and who has it."""


def _condition(type_: USBCondition, description: str) -> Column:
    return Column(type_.value, f'.status.conditions[?(@.type=="{type_}")].status', description=description)


def _attribute(name: str, field: str, description: str, *, wide: bool = False) -> Column:
    return Column(name, f".status.attributes.{field}", description=description, priority=int(wide))


_NODE = Column("Node", ".status.nodeName", description="Node that it is plugged into")

NODE_USB_DEVICE = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="NodeUSBDevice",
        plural="nodeusbdevices",
        singular="nodeusbdevice",
        namespaced=False,
        model=NodeUSBDevice,
        main_condition=USBCondition.READY,
        short_names=("nusb",),
        categories=(CATEGORY,),
        columns=(
            _NODE,
            _condition(USBCondition.READY, "Whether it is plugged in and usable"),
            _condition(USBCondition.ASSIGNED, "Whether a namespace may use it"),
            _condition(USBCondition.ATTACHED, "Whether a virtual machine has it"),
            Column("Namespace", ".spec.assignedNamespace", description="Namespace that may use it"),
            AGE,
        ),
        subresources=frozenset({"status"}),
        not_built=_NOT_BUILT,
    )
)

USB_DEVICE = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="USBDevice",
        plural="usbdevices",
        singular="usbdevice",
        namespaced=True,
        model=USBDevice,
        main_condition=USBCondition.READY,
        short_names=("usb",),
        categories=(CATEGORY,),
        columns=(
            _NODE,
            _attribute("VendorID", "vendorID", "Number of the vendor", wide=True),
            _attribute("ProductID", "productID", "Number of the product", wide=True),
            _attribute("Bus", "bus", "Number of the bus", wide=True),
            _attribute("DeviceNumber", "deviceNumber", "Number on the bus", wide=True),
            _attribute("Manufacturer", "manufacturer", "Name of the manufacturer"),
            _attribute("Product", "product", "Name of the product"),
            _attribute("Serial", "serial", "Serial number", wide=True),
            _condition(USBCondition.ATTACHED, "Whether a virtual machine has it"),
            AGE,
        ),
        subresources=frozenset({"status"}),
        not_built=_NOT_BUILT,
    )
)
