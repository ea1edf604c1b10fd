"""Pruning, defaulting and validation behave and read as a kube-apiserver's."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from hyperd.resources.all import (
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import KINDS, Kind, Object
from hyperd.resources.schema.structural import apply_defaults, check_rules, invalid, prune, validate
from tests.unit.resources.samples import examples, machine


def admitted(kind: Kind, obj: Object) -> list[str]:
    """What is wrong with ``obj`` by schema and rules, one line each."""
    apply_defaults(kind.schema, obj)
    causes = validate(kind.schema, obj) or check_rules(kind, obj, None)
    return [f"{cause.field}: {cause.message}" for cause in causes]


@pytest.mark.parametrize("obj", examples(), ids=lambda obj: f"{obj['kind']}/{obj['metadata']['name']}")
def test_manifests_of_the_reference_style_are_accepted(obj: Object) -> None:
    kind = KINDS.by_kind("virtualization.deckhouse.io", obj["kind"])
    assert kind is not None
    assert prune(kind.schema, obj) == []
    assert admitted(kind, obj) == []


def test_unknown_fields_are_dropped_and_named() -> None:
    obj = machine()
    obj["spec"]["foo"] = 1
    obj["spec"]["blockDeviceRefs"][0]["bar"] = {"a": 1}
    obj["metadata"]["lables"] = {}
    obj["extra"] = True
    assert sorted(prune(VIRTUAL_MACHINE.schema, obj)) == [
        'unknown field "extra"',
        'unknown field "metadata.lables"',
        'unknown field "spec.blockDeviceRefs[0].bar"',
        'unknown field "spec.foo"',
    ]
    assert obj == machine()


def test_maps_keep_all_their_keys() -> None:
    obj = machine()
    obj["spec"]["nodeSelector"] = {"anything": "goes"}
    assert prune(VIRTUAL_MACHINE.schema, obj) == []


def test_free_form_values_are_kept_whole() -> None:
    obj = machine()
    change = {"operation": "replace", "path": "cpu", "currentValue": {"any": [1]}, "desiredValue": 2}
    obj["status"] = {"restartAwaitingChanges": [change]}
    before = copy.deepcopy(obj)
    assert prune(VIRTUAL_MACHINE.schema, obj) == []
    assert obj == before
    assert validate(VIRTUAL_MACHINE.schema, obj) == []


def test_a_machine_gets_the_defaults_of_the_reference() -> None:
    obj = machine()
    apply_defaults(VIRTUAL_MACHINE.schema, obj)
    given = machine()["spec"]
    assert {key: value for key, value in obj["spec"].items() if key not in given} == {
        "runPolicy": "AlwaysOnUnlessStoppedManually",
        "disruptions": {"restartApprovalMode": "Manual"},
        "terminationGracePeriodSeconds": 60,
        "osType": "Generic",
        "bootloader": "BIOS",
        "enableParavirtualization": True,
        "liveMigrationPolicy": "PreferSafe",
    }
    assert "status" not in obj


def test_defaults_are_not_shared_between_objects() -> None:
    first, second = machine(), machine()
    apply_defaults(VIRTUAL_MACHINE.schema, first)
    apply_defaults(VIRTUAL_MACHINE.schema, second)
    first["spec"]["disruptions"]["restartApprovalMode"] = "Automatic"
    assert second["spec"]["disruptions"]["restartApprovalMode"] == "Manual"


def test_a_null_counts_as_absent() -> None:
    obj = machine()
    obj["spec"].update(runPolicy=None, disruptions={"restartApprovalMode": None}, provisioning=None)
    apply_defaults(VIRTUAL_MACHINE.schema, obj)
    assert obj["spec"]["runPolicy"] == "AlwaysOnUnlessStoppedManually"
    assert obj["spec"]["disruptions"] == {"restartApprovalMode": "Manual"}
    assert "provisioning" not in obj["spec"]


def _set(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        obj = obj.setdefault(name, {})
    obj[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "spec.cpu.cores",
            "two",
            'spec.cpu.cores: Invalid value: "string": spec.cpu.cores in body must be of type integer: "string"',
        ),
        (
            "spec.cpu.cores",
            True,
            'spec.cpu.cores: Invalid value: "boolean": spec.cpu.cores in body must be of type integer: "boolean"',
        ),
        (
            "spec.cpu.cores",
            1.5,
            'spec.cpu.cores: Invalid value: "number": spec.cpu.cores in body must be of type integer: "number"',
        ),
        (
            "spec.cpu.cores",
            0,
            "spec.cpu.cores: Invalid value: 0: spec.cpu.cores in body should be greater than or equal to 1",
        ),
        (
            "spec.cpu.cores",
            1 << 70,
            f'spec.cpu.cores: Invalid value: {1 << 70}: spec.cpu.cores in body must be of type int64: "{1 << 70}"',
        ),
        ("spec.cpu", {}, "spec.cpu.cores: Required value"),
        ("spec.cpu", [], 'spec.cpu: Invalid value: "array": spec.cpu in body must be of type object: "array"'),
        (
            "spec.cpu.coreFraction",
            "0%",
            'spec.cpu.coreFraction: Invalid value: "0%": spec.cpu.coreFraction in body should match '
            "'^(Auto|(100|[1-9][0-9]?)%)$'",
        ),
        (
            "spec.cpu.coreFraction",
            "20%\n",
            'spec.cpu.coreFraction: Invalid value: "20%\\n": spec.cpu.coreFraction in body should match '
            "'^(Auto|(100|[1-9][0-9]?)%)$'",
        ),
        (
            "spec.osType",
            "Plan9",
            'spec.osType: Unsupported value: "Plan9": supported values: "Generic", "Windows", "Legacy"',
        ),
        (
            "spec.memory.size",
            1.5,
            'spec.memory.size: Invalid value: "number": spec.memory.size in body must be of type string: "number"',
        ),
        (
            "spec.blockDeviceRefs",
            [],
            "spec.blockDeviceRefs: Invalid value: []: spec.blockDeviceRefs in body should have at least 1 items",
        ),
        (
            "spec.blockDeviceRefs",
            [{"kind": "VirtualDisk", "name": str(number)} for number in range(17)],
            "spec.blockDeviceRefs: Too many: 17: must have at most 16 items",
        ),
        (
            "spec.blockDeviceRefs",
            [{"kind": "Disk", "name": "a"}],
            'spec.blockDeviceRefs[0].kind: Unsupported value: "Disk": supported values: "ClusterVirtualImage", '
            '"VirtualImage", "VirtualDisk"',
        ),
        (
            "spec.virtualMachineIPAddressName",
            "",
            'spec.virtualMachineIPAddressName: Invalid value: "": spec.virtualMachineIPAddressName in body should '
            "be at least 1 chars long",
        ),
        (
            "spec.nodeSelector",
            {"a": 1},
            'spec.nodeSelector.a: Invalid value: "integer": spec.nodeSelector.a in body must be of type string: '
            '"integer"',
        ),
        (
            "spec.provisioning",
            {"type": "UserData", "userData": "x" * 2049},
            "spec.provisioning.userData: Too long: may not be more than 2048 bytes",
        ),
        ("spec", None, "spec: Required value"),
    ],
)
def test_a_fault_of_the_schema_reads_as_kubernetes_writes_it(path: str, value: Any, message: str) -> None:
    obj = machine()
    _set(obj, path, value)
    assert admitted(VIRTUAL_MACHINE, obj) == [message]


def test_a_whole_number_may_come_as_a_float() -> None:
    obj = machine()
    obj["spec"]["cpu"]["cores"] = 2.0
    assert admitted(VIRTUAL_MACHINE, obj) == []


def test_an_invalid_object_is_reported_whole() -> None:
    obj = machine()
    obj["spec"]["cpu"] = {}
    obj["spec"]["osType"] = "x"
    error = invalid(VIRTUAL_MACHINE, "web", validate(VIRTUAL_MACHINE.schema, obj))
    assert error.message == (
        'VirtualMachine.virtualization.deckhouse.io "web" is invalid: [spec.cpu.cores: Required value, '
        'spec.osType: Unsupported value: "x": supported values: "Generic", "Windows", "Legacy"]'
    )
    status = error.status()
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert {cause["reason"] for cause in status["details"]["causes"]} == {
        "FieldValueRequired",
        "FieldValueNotSupported",
    }
    json.dumps(status)
