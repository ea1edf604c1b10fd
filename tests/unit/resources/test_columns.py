"""What ``kubectl get`` prints of each kind, letter by letter as the reference has it: scripts rely on it."""

from __future__ import annotations

import pytest
import yaml

from hyperd.resources.all import KINDS
from hyperd.resources.crd import crd
from hyperd.resources.schema.kind import Column, Kind

_AGE = ("Age", "date", 0, ".metadata.creationTimestamp")


def _condition(name: str, type_: str, priority: int, quote: str) -> tuple[str, str, int, str]:
    return name, "string", priority, f".status.conditions[?(@.type=={quote}{type_}{quote})].status"


_IMAGE = (
    ("Phase", "string", 0, ".status.phase"),
    ("CDROM", "boolean", 0, ".status.cdrom"),
    ("Progress", "string", 0, ".status.progress"),
    ("StoredSize", "string", 1, ".status.size.stored"),
    ("UnpackedSize", "string", 1, ".status.size.unpacked"),
    ("Registry URL", "string", 1, ".status.target.registryURL"),
)
_ADDRESS = (
    ("Address", "string", 0, ".status.address"),
    ("Status", "string", 0, ".status.phase"),
    ("VM", "string", 0, ".status.virtualMachineName"),
    _AGE,
)
_SNAPSHOT = (
    ("Phase", "string", 0, ".status.phase"),
    ("Consistent", "boolean", 0, ".status.consistent"),
    _AGE,
)
COLUMNS: dict[str, tuple[tuple[str, str, int, str], ...]] = {
    "VirtualImage": (
        *_IMAGE,
        ("TargetPVC", "string", 1, ".status.target.persistentVolumeClaimName"),
        _AGE,
    ),
    "ClusterVirtualImage": (*_IMAGE, _AGE),
    "VirtualDisk": (
        ("Phase", "string", 0, ".status.phase"),
        ("Capacity", "string", 0, ".status.capacity"),
        _condition("InUse", "InUse", 1, "'"),
        ("VirtualMachine", "string", 0, ".status.attachedToVirtualMachines[?(@.mounted==true)].name"),
        ("Progress", "string", 1, ".status.progress"),
        ("StorageClass", "string", 1, ".status.storageClassName"),
        ("TargetPVC", "string", 1, ".status.target.persistentVolumeClaimName"),
        _AGE,
    ),
    "VirtualDiskSnapshot": _SNAPSHOT,
    "VirtualMachine": (
        ("Phase", "string", 0, ".status.phase"),
        ("Uptime", "date", 0, ".status.stats.lastStartTime"),
        ("Cores", "string", 1, ".status.resources.cpu.cores"),
        ("CoreFraction", "string", 1, ".status.resources.cpu.coreFraction"),
        ("Memory", "string", 1, ".status.resources.memory.size"),
        _condition("Need restart", "AwaitingRestartToApplyConfiguration", 1, "'"),
        _condition("Agent", "AgentReady", 1, "'"),
        _condition("Migratable", "Migratable", 1, "'"),
        ("Node", "string", 0, ".status.nodeName"),
        ("IPAddress", "string", 0, ".status.ipAddress"),
        _AGE,
    ),
    "VirtualMachineBlockDeviceAttachment": (
        ("PHASE", "string", 0, ".status.phase"),
        ("BLOCKDEVICE KIND", "string", 1, ".spec.blockDeviceRef.kind"),
        ("BLOCKDEVICE NAME", "string", 1, ".spec.blockDeviceRef.name"),
        ("VIRTUALMACHINE", "string", 0, ".status.virtualMachineName"),
        ("AGE", "date", 0, ".metadata.creationTimestamp"),
    ),
    "VirtualMachineClass": (
        ("Phase", "string", 0, ".status.phase"),
        (
            "IsDefault",
            "string",
            0,
            r".metadata.annotations.virtualmachineclass\.virtualization\.deckhouse\.io\/is-default-class",
        ),
        _AGE,
    ),
    "VirtualMachineIPAddress": _ADDRESS,
    "VirtualMachineMACAddress": _ADDRESS,
    "VirtualMachineIPAddressLease": (
        ("VirtualMachineIPAddress", "string", 0, ".spec.virtualMachineIPAddressRef"),
        ("Status", "string", 0, ".status.phase"),
        _AGE,
    ),
    "VirtualMachineMACAddressLease": (
        ("VirtualMachineMACAddress", "string", 0, ".spec.virtualMachineMACAddressRef"),
        ("Status", "string", 0, ".status.phase"),
        _AGE,
    ),
    "VirtualMachineOperation": (
        ("Phase", "string", 0, ".status.phase"),
        ("Progress", "string", 0, ".status.progress"),
        ("Type", "string", 0, ".spec.type"),
        ("VirtualMachine", "string", 0, ".spec.virtualMachineName"),
        _AGE,
    ),
    "VirtualMachinePool": (
        ("Replicas", "integer", 0, ".status.replicas"),
        ("Ready", "integer", 0, ".status.readyReplicas"),
        _AGE,
    ),
    "VirtualMachineSnapshot": _SNAPSHOT,
    "VirtualMachineSnapshotOperation": (
        ("Phase", "string", 0, ".status.phase"),
        ("Type", "string", 0, ".spec.type"),
        ("VirtualMachineSnapshot", "string", 0, ".spec.virtualMachineSnapshotName"),
        _AGE,
    ),
    "NodeUSBDevice": (
        ("Node", "string", 0, ".status.nodeName"),
        _condition("Ready", "Ready", 0, '"'),
        _condition("Assigned", "Assigned", 0, '"'),
        _condition("Attached", "Attached", 0, '"'),
        ("Namespace", "string", 0, ".spec.assignedNamespace"),
        _AGE,
    ),
    "USBDevice": (
        ("Node", "string", 0, ".status.nodeName"),
        ("VendorID", "string", 1, ".status.attributes.vendorID"),
        ("ProductID", "string", 1, ".status.attributes.productID"),
        ("Bus", "string", 1, ".status.attributes.bus"),
        ("DeviceNumber", "string", 1, ".status.attributes.deviceNumber"),
        ("Manufacturer", "string", 0, ".status.attributes.manufacturer"),
        ("Product", "string", 0, ".status.attributes.product"),
        ("Serial", "string", 1, ".status.attributes.serial"),
        _condition("Attached", "Attached", 0, '"'),
        _AGE,
    ),
}
OURS = [kind for kind in KINDS if not kind.core]


def _told(column: Column) -> tuple[str, str, int, str]:
    return column.name, column.type, column.priority, column.json_path


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.kind)
def test_a_kind_prints_what_the_reference_prints(kind: Kind) -> None:
    assert tuple(map(_told, kind.columns)) == COLUMNS[kind.kind]
    for version in yaml.safe_load(yaml.safe_dump(crd(kind)))["spec"]["versions"]:
        printed = [
            (one["name"], one["type"], one.get("priority", 0), one["jsonPath"])
            for one in version["additionalPrinterColumns"]
        ]
        assert tuple(printed) == COLUMNS[kind.kind]


def test_no_kind_is_left_out() -> None:
    assert set(COLUMNS) == {kind.kind for kind in OURS}
