"""Pruning, defaulting and validation behave and read as a kube-apiserver's."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_OPERATION,
)
from hyperd.resources.kind import KINDS, Kind, Object
from hyperd.resources.structural import apply_defaults, check_rules, invalid, prune, validate
from tests.unit.resources.samples import example, examples, machine


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"osType": "Legacy", "bootloader": "EFI"}, "osType Legacy boots by BIOS only"),
        (
            {"osType": "Legacy", "provisioning": {"type": "UserData", "userData": "x"}},
            "osType Legacy cannot have provisioning",
        ),
        (
            {
                "osType": "Legacy",
                "enableParavirtualization": False,
                "blockDeviceRefs": [{"kind": "VirtualDisk", "name": str(number)} for number in range(5)],
            },
            "osType Legacy without paravirtualization can have at most 4 block devices",
        ),
    ],
)
def test_legacy_systems_have_limits(changes: Object, message: str) -> None:
    obj = machine()
    obj["spec"].update(changes)
    assert admitted(VIRTUAL_MACHINE, obj) == [f'spec: Invalid value: "object": {message}']


@pytest.mark.parametrize(
    ("provisioning", "message"),
    [
        ({"type": "UserData"}, "UserData requires userData and cannot have userDataRef or sysprepRef"),
        (
            {"type": "UserDataRef", "userDataRef": {"name": "a"}, "userData": "x"},
            "UserDataRef requires userDataRef and cannot have userData or sysprepRef",
        ),
        (
            {"type": "SysprepRef", "userData": "x"},
            "SysprepRef requires sysprepRef and cannot have userData or userDataRef",
        ),
        (
            {"type": "UserData", "userData": "ä" * 1025},
            "userData may not be longer than 2048 bytes: use UserDataRef",
        ),
    ],
)
def test_provisioning_has_exactly_the_block_of_its_type(provisioning: Object, message: str) -> None:
    obj = machine()
    obj["spec"]["provisioning"] = provisioning
    assert admitted(VIRTUAL_MACHINE, obj) == [f'spec.provisioning: Invalid value: "object": {message}']


HTTP = {"url": "https://example.com/a.qcow2"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"type": "HTTP"}, "HTTP requires http and cannot have containerImage or objectRef"),
        (
            {"type": "HTTP", "http": HTTP, "objectRef": {"kind": "VirtualImage", "name": "a"}},
            "HTTP requires http and cannot have containerImage or objectRef",
        ),
        (
            {"type": "ObjectRef", "http": HTTP},
            "ObjectRef requires objectRef and cannot have http or containerImage",
        ),
        ({"type": "ContainerImage"}, "ContainerImage requires containerImage and cannot have http or objectRef"),
        ({"type": "Upload", "http": HTTP}, "Upload cannot have http or containerImage or objectRef"),
    ],
)
@pytest.mark.parametrize("kind", [VIRTUAL_IMAGE, VIRTUAL_DISK, CLUSTER_VIRTUAL_IMAGE], ids=lambda kind: kind.kind)
def test_a_source_has_exactly_the_block_of_its_type(kind: Kind, source: Object, message: str) -> None:
    obj: Object = {"metadata": {"name": "a"}, "spec": {"dataSource": copy.deepcopy(source)}}
    if kind is CLUSTER_VIRTUAL_IMAGE and "objectRef" in source:
        obj["spec"]["dataSource"]["objectRef"]["namespace"] = "default"
    assert admitted(kind, obj) == [f'spec.dataSource: Invalid value: "object": {message}']


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "https://", "file:///etc/passwd", "http://a b", "http://a\n", "HTTP://a", "http://ä"]
)
def test_an_address_that_is_no_web_address_is_refused(url: str) -> None:
    obj: Object = {"spec": {"dataSource": {"type": "HTTP", "http": {"url": url}}}}
    assert "spec.dataSource.http.url in body should match" in admitted(VIRTUAL_IMAGE, obj)[0]


@pytest.mark.parametrize("image", ["Debian", "a b", "http://a/b", "a:tag:tag", "a@sha256:zz", "-a"])
def test_a_reference_that_names_no_container_image_is_refused(image: str) -> None:
    obj: Object = {"spec": {"dataSource": {"type": "ContainerImage", "containerImage": {"image": image}}}}
    assert "spec.dataSource.containerImage.image in body should match" in admitted(VIRTUAL_IMAGE, obj)[0]


@pytest.mark.parametrize(
    "image", ["debian", "debian:12", "example.com:5000/a/b-c/d__e:12.1", "a@sha256:" + "0" * 64, "localhost/a"]
)
def test_references_of_container_images_are_accepted(image: str) -> None:
    obj: Object = {"spec": {"dataSource": {"type": "ContainerImage", "containerImage": {"image": image}}}}
    assert admitted(VIRTUAL_IMAGE, obj) == []


def test_a_checksum_has_its_length() -> None:
    http = {**HTTP, "checksum": {"sha256": "ABC"}}
    obj: Object = {"spec": {"dataSource": {"type": "HTTP", "http": http}}}
    assert admitted(VIRTUAL_IMAGE, obj)[0] == (
        'spec.dataSource.http.checksum.sha256: Invalid value: "ABC": spec.dataSource.http.checksum.sha256 in body '
        "should be at least 64 chars long"
    )


def test_a_certificate_bundle_is_base64() -> None:
    obj: Object = {"spec": {"dataSource": {"type": "HTTP", "http": {**HTTP, "caBundle": "---"}}}}
    assert "must be of type byte" in admitted(VIRTUAL_IMAGE, obj)[0]


def test_a_cluster_image_names_the_namespace_of_its_source() -> None:
    obj: Object = {
        "spec": {"dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "a"}}}
    }
    assert "namespace is required for VirtualImage" in admitted(CLUSTER_VIRTUAL_IMAGE, obj)[0]


@pytest.mark.parametrize("value", ["10.66.10", "10.66.10.256", "::1", "010.66.10.1"])
def test_a_static_address_is_an_ipv4_address(value: str) -> None:
    obj: Object = {"spec": {"type": "Static", "staticIP": value}}
    assert admitted(VIRTUAL_MACHINE_IP_ADDRESS, obj) == [
        f'spec.staticIP: Invalid value: "{value}": spec.staticIP in body must be of type ipv4: "{value}"'
    ]


def test_a_static_address_is_given_and_an_automatic_one_is_not() -> None:
    assert "type Static requires staticIP" in admitted(VIRTUAL_MACHINE_IP_ADDRESS, {"spec": {"type": "Static"}})[0]
    automatic = {"spec": {"type": "Auto", "staticIP": "10.66.10.4"}}
    assert "type Auto cannot have staticIP" in admitted(VIRTUAL_MACHINE_IP_ADDRESS, automatic)[0]


@pytest.mark.parametrize(
    ("cpu", "message"),
    [
        ({"type": "Host", "model": "Nehalem"}, "type Host and HostPassthrough cannot have model or features"),
        ({"type": "Model"}, "type Model requires model and cannot have"),
        ({"type": "Features", "features": ["vmx"], "model": "x"}, "type Features requires features and cannot"),
        ({"type": "Discovery", "model": "x"}, "type Discovery cannot have model or features"),
    ],
)
def test_a_class_has_exactly_what_its_type_of_processor_needs(cpu: Object, message: str) -> None:
    assert message in admitted(VIRTUAL_MACHINE_CLASS, {"spec": {"cpu": cpu}})[0]


def test_a_policy_has_a_range() -> None:
    obj = example("VirtualMachineClass", "generic")
    obj["spec"]["sizingPolicies"][1]["cores"] = {"min": 8, "max": 8, "step": 9}
    assert admitted(VIRTUAL_MACHINE_CLASS, obj) == [
        'spec.sizingPolicies[1].cores: Invalid value: "object": max must be greater than min',
        'spec.sizingPolicies[1].cores: Invalid value: "object": max must be greater than step',
    ]


def test_a_transition_rule_is_asked_on_updates_only() -> None:
    old = example("VirtualMachineOperation", "restart-web")
    new = copy.deepcopy(old)
    new["spec"]["virtualMachineName"] = "other"
    assert check_rules(VIRTUAL_MACHINE_OPERATION, new, None) == []
    assert [cause.message for cause in check_rules(VIRTUAL_MACHINE_OPERATION, new, old)] == [
        'Invalid value: "object": spec is immutable: create another operation instead'
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "Start", "force": True}, "type Start cannot be forced"),
        ({"type": "Stop", "migrate": {}}, "migrate is only for type Migrate"),
        ({"type": "Restore"}, "type Restore requires restore"),
        ({"type": "Clone"}, "type Clone requires clone"),
        ({"type": "Clone", "clone": {"mode": "Strict"}}, "one of customization.namePrefix"),
    ],
)
def test_an_operation_has_what_its_type_needs(spec: Object, message: str) -> None:
    obj: Object = {"spec": {"virtualMachineName": "web", **spec}}
    assert message in admitted(VIRTUAL_MACHINE_OPERATION, obj)[0]


def test_two_conditions_of_a_type_are_refused() -> None:
    obj = machine()
    condition = {"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    obj["status"] = {"conditions": [condition, condition]}
    assert admitted(VIRTUAL_MACHINE, obj) == ['status.conditions[1]: Duplicate value: {"type": "Ready"}']


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        (
            "tolerations",
            [{"key": "a", "operator": "In"}],
            'spec.tolerations[0].operator: Unsupported value: "In": supported values: "Exists", "Equal", ""',
        ),
        (
            "affinity",
            {"virtualMachineAndPodAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}},
            "spec.affinity.virtualMachineAndPodAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
            ".topologyKey: Required value",
        ),
        (
            "topologySpreadConstraints",
            [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: "
            "spec.topologySpreadConstraints[0].maxSkew in body should be greater than or equal to 1",
        ),
    ],
)
def test_placement_speaks_the_schedulers_words(field: str, value: Any, line: str) -> None:
    obj = machine()
    obj["spec"][field] = value
    assert admitted(VIRTUAL_MACHINE, obj) == [line]


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00"])
def test_a_time_is_rfc_3339(text: str) -> None:
    obj = machine()
    obj["status"] = {"stats": {"lastStartTime": text}}
    assert "must be of type date-time" in admitted(VIRTUAL_MACHINE, obj)[0]


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
