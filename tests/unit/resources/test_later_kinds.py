"""The rules that snapshots, attachments, hardware addresses and pools declare."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hyperd.resources.all import KINDS, USB_DEVICE, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_MACHINE_POOL
from hyperd.resources.crd import crd
from hyperd.resources.kinds.virtual_machine_mac_address_lease import mac_lease_name
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.structural import apply_defaults, check_rules, prune, validate
from hyperd.resources.values.names import GROUP
from tests.unit.resources.samples import example


def faults(obj: Object, old: Object | None = None) -> list[str]:
    """What is wrong with ``obj`` after pruning and defaulting, a line each."""
    kind = kind_of(obj)
    new, former = copy.deepcopy(obj), copy.deepcopy(old)
    prune(kind.schema, new)
    apply_defaults(kind.schema, new)
    if former is not None:
        apply_defaults(kind.schema, former)
    causes = validate(kind.schema, new) or check_rules(kind, new, former)
    return [f"{cause.field}: {cause.message}" for cause in causes]


def kind_of(obj: Object) -> Kind:
    found = KINDS.by_kind(GROUP, obj["kind"])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "name", "field", "message"),
    [
        ("VirtualDiskSnapshot", "root-before", "virtualDiskName", "specification changes are not available"),
        ("VirtualMachineSnapshot", "web-before", "virtualMachineName", "specification changes are not available"),
        ("VirtualMachineSnapshotOperation", "web-again", "virtualMachineSnapshotName", "spec is immutable"),
        ("VirtualMachineBlockDeviceAttachment", "web-data", "virtualMachineName", "spec is immutable"),
    ],
)
def test_what_is_of_one_moment_does_not_change(kind: str, name: str, field: str, message: str) -> None:
    old = example(kind, name)
    new = copy.deepcopy(old)
    assert faults(new, old) == []
    new["spec"][field] = "other"
    assert len(faults(new, old)) == 1
    assert message in faults(new, old)[0]


def test_spelling_out_a_default_changes_nothing() -> None:
    old = example("VirtualDiskSnapshot", "root-before")
    new = copy.deepcopy(old)
    new["spec"]["requiredConsistency"] = True
    assert faults(new, old) == []


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("VirtualDiskSnapshot", "root-before", "virtualDiskName", ""),
        ("VirtualMachineSnapshot", "web-before", "keepIPAddress", "Sometimes"),
        ("VirtualMachineSnapshotOperation", "web-again", "type", "CreateVirtualMachineName"),
        ("VirtualMachineBlockDeviceAttachment", "web-data", "blockDeviceRef", {"kind": "Secret", "name": "x"}),
        ("VirtualMachineMACAddress", "web-card", "address", "5e-e6-19-22-0f-d8"),
        ("VirtualMachineMACAddress", "web-card", "address", "5e:e6:19:22:0f"),
        ("VirtualMachineMACAddressLease", "mac-5e-e6-19-22-0f-d8", "virtualMachineMACAddressRef", {"name": "x"}),
        ("NodeUSBDevice", "token-1", "assignedNamespace", 7),
    ],
)
def test_a_value_out_of_its_range_is_refused(kind: str, name: str, path: str, value: Any) -> None:
    obj = example(kind, name)
    obj["spec"][path] = value
    assert len(faults(obj)) == 1


def test_machines_made_from_a_snapshot_need_other_names() -> None:
    obj = example("VirtualMachineSnapshotOperation", "web-again")
    obj["spec"]["createVirtualMachine"] = {"mode": "Strict"}
    assert "nameReplacement is required" in faults(obj)[0]
    del obj["spec"]["createVirtualMachine"]
    assert faults(obj) == []


def test_a_lease_is_named_by_its_address() -> None:
    assert mac_lease_name("5E:E6:19:22:0F:D8") == "mac-5e-e6-19-22-0f-d8"


def pool(**changes: Any) -> Object:
    """The example with some of the machines' spec replaced; None removes."""
    obj = example("VirtualMachinePool", "workers")
    spec = obj["spec"]["virtualMachineTemplate"]["spec"]
    spec.update(changes)
    for key in [key for key, value in changes.items() if value is None]:
        del spec[key]
    return obj


ROOT = {"kind": "VirtualDisk", "name": "root"}
DATA = {"kind": "VirtualDisk", "name": "data"}


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"blockDeviceRefs": [ROOT]}, ["exactly once, as a VirtualDisk"]),
        ({"blockDeviceRefs": [ROOT, DATA, DATA]}, ["exactly once, as a VirtualDisk"]),
        ({"blockDeviceRefs": [ROOT, DATA, ROOT | {"name": "other"}]}, ["must be one of virtualDiskTemplates"]),
        ({"osType": "Legacy"}, ["osType Legacy is not for pools"]),
        ({"liveMigrationPolicy": None}, ["Required value"]),
        ({"liveMigrationPolicy": "Never"}, []),
        ({"liveMigrationPolicy": "Perhaps"}, ["Unsupported value"]),
        ({"virtualMachineClassName": None}, ["Required value"]),
        ({"blockDeviceRefs": [{"kind": "VirtualDisk"}]}, ["Required value"]),
        ({"provisioning": {"type": "UserData"}}, ["UserData requires userData"]),
    ],
)
def test_machines_of_a_pool_fit_its_disks(changes: Object, messages: list[str]) -> None:
    found = faults(pool(**changes))
    assert len(found) == len(messages)
    assert all(message in line for message, line in zip(messages, found, strict=True))


@pytest.mark.parametrize(
    ("reclaim", "messages"),
    [
        ({"onScaleDown": "Retain"}, []),
        ({"onScaleDown": "Retain", "ttl": "1.5h"}, []),
        ({"ttl": "24h"}, ["only for onScaleDown Retain"]),
        ({"keep": 1}, ["only for onScaleDown Retain", "keep needs ttl"]),
        ({"onScaleDown": "Retain", "keep": 1}, ["keep needs ttl"]),
        ({"onScaleDown": "Retain", "ttl": "a day"}, ["should match"]),
        ({"onScaleDown": "Retain", "keep": -1}, ["greater than or equal to 0"]),
    ],
)
def test_only_disks_that_are_kept_are_kept_for_a_time(reclaim: Object, messages: list[str]) -> None:
    obj = pool()
    obj["spec"]["virtualDiskTemplates"][0]["reclaim"] = reclaim
    found = faults(obj)
    assert len(found) == len(messages)
    assert all(message in line for message, line in zip(messages, found, strict=True))


def test_disks_of_a_pool_keep_the_rules_of_disks() -> None:
    obj = pool()
    obj["spec"]["virtualDiskTemplates"][0]["spec"]["dataSource"] = {"type": "HTTP"}
    assert "HTTP requires http" in faults(obj)[0]


def test_two_disk_templates_have_two_names() -> None:
    obj = pool()
    obj["spec"]["virtualDiskTemplates"][1]["name"] = "root"
    assert any("Duplicate value" in line for line in faults(obj))


def test_a_pool_can_be_scaled() -> None:
    version = crd(VIRTUAL_MACHINE_POOL)["spec"]["versions"][0]
    assert version["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    assert "scale" not in crd(VIRTUAL_DISK_SNAPSHOT)["spec"]["versions"][0]["subresources"]


def test_a_mirror_has_no_spec() -> None:
    assert "spec" not in USB_DEVICE.schema["properties"]
