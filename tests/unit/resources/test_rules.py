"""What the kinds' rules across fields, and their words for values, accept and refuse."""

from __future__ import annotations

import copy
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
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.structural import check_rules
from tests.unit.resources.samples import example, machine
from tests.unit.resources.test_structural import admitted


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
        ({"type": "HTTP"}, "HTTP requires http and cannot have ContainerImage or ObjectRef."),
        (
            {"type": "HTTP", "http": HTTP, "objectRef": {"kind": "VirtualImage", "name": "a"}},
            "HTTP requires http and cannot have ContainerImage or ObjectRef.",
        ),
        (
            {"type": "ObjectRef", "http": HTTP},
            "ObjectRef requires objectRef and cannot have HTTP or ContainerImage.",
        ),
        ({"type": "ContainerImage"}, "ContainerImage requires containerImage and cannot have HTTP or ObjectRef."),
        ({"type": "Upload", "http": HTTP}, "Upload cannot have HTTP or ContainerImage or ObjectRef."),
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
