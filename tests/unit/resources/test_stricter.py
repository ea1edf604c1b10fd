"""What our schemas demand of a spec: as the reference does, or for a reason that stands here.

A limit that is added fails until it is in one of the two tables. A manifest that the reference takes is refused
here only where it would cost safety.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Object
from hyperd.resources.schema.structural import validate
from tests.unit.resources.samples import examples, machine

_KEYWORDS = frozenset({
    "enum", "format", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength",
    "minProperties", "minimum", "pattern", "required",
})  # fmt: skip
_WIDTHS = frozenset({"int32", "int64", "date-time", "byte"})
"""Formats that Go's types imply."""

REFERENCE = tuple(map(re.compile, (
    r"\w+ spec\.?\w*(dataSource|spec\.dataSource)(\.\w+)? (required|enum)",
    r"\w+ .*checksum\.\w+ (maxLength|minLength|pattern)",
    r"\w+ .*\.http(\.url)? (required|pattern)",
    r"\w+ .*\.containerImage(\.image)? (required|pattern)",
    r"\w+ .*\.objectRef(\.kind|\.name)? (required|enum|minLength)",
    r"\w+ spec required",
    r"VirtualImage spec\.storage enum",
    r"\w+ .*persistentVolumeClaim\.\w+ (pattern|minLength)",
    r"\w+ .*\.(virtualDiskName|virtualMachineName|virtualMachineSnapshotName|virtualMachineClassName) minLength",
    r"\w+ .*\.(runPolicy|osType|bootloader|liveMigrationPolicy|restartApprovalMode|keepIPAddress) enum",
    r"\w+ .*\.cpu(\.cores|\.coreFraction)? (required|minimum|pattern)",
    r"\w+ .*\.memory(\.size)? (required|pattern)",
    r"\w+ .*\.blockDeviceRefs(\[\](\.\w+)?)? (minItems|maxItems|enum|minLength|minimum|required)",
    r"\w+ .*\.provisioning(\.type|\.userData)? (required|enum|maxLength)",
    r"\w+ .*\.(userDataRef|sysprepRef)(\.kind|\.name)? (required|enum|minLength)",
    r"\w+ .*\.(usbDevices|gpus)(\[\](\.\w+)?)? (maxItems|required|minLength|maxLength|pattern)",
    r"\w+ .*\.networks\[\](\.(type|name|virtualMachineMACAddressName|ipAddressName))? (required|enum|minLength)",
    # What is like a Pod's is as Kubernetes has it.
    r"\w+ .*\.(affinity|topologySpreadConstraints)[.\[].* \w+",
    r"\w+ .*[nN]odeSelector\.matchExpressions\[\](\.\w+)? (required|enum)",
    r"VirtualMachineClass spec\.cpu(\.\w+)? (required|enum|minLength|minItems)",
    r"VirtualMachineClass spec\.sizingPolicies.* \w+",
    r"VirtualMachineIPAddress spec(\.type|\.staticIP)? (required|enum|format)",
    r"VirtualMachineIPAddressLease .*Ref(\.\w+)? (required|minLength)",
    r"VirtualMachineMACAddress(Lease)? spec\.\w+(\.\w+)? (required|minLength|pattern)",
    r"VirtualMachineBlockDeviceAttachment spec\.blockDeviceRef\.\w+ (enum|minLength)",
    r"VirtualMachine(Snapshot)?Operation .*(type|mode) enum",
    r"VirtualMachine(Snapshot)?Operation .*(restore|clone|createVirtualMachine) required",
    r"VirtualMachine(Snapshot)?Operation .*nameReplacement\[\](\.\w+)* (required|minLength|maxLength)",
    r"VirtualMachine(Snapshot)?Operation .*customization\.\w+ (minLength|maxLength)",
    r"VirtualMachinePool spec\.(replicas|scaleDownPolicy|virtualDiskTemplates.*|virtualMachineTemplate) \w+",
    r"VirtualMachinePool spec\.virtualMachineTemplate\.spec required",
)))  # fmt: skip
"""``Kind path keyword`` of what the reference demands too."""

STRICTER = {
    r"\w+ .*\.http\.url maxLength": "it is kept, logged and sent; a source of 8 KiB is no longer one",
    r"\w+ .*\.containerImage\.image maxLength": "it becomes a URL; registries take far less",
    r"\w+ .*\.(imagePullSecret|objectRef)\.namespace maxLength": "part of a path; no namespace is longer",
    r"\w+ .*\.terminationGracePeriodSeconds minimum": "less than no time: a guest would be destroyed at once",
    r"\w+ .*\.networks\[\]\.id (minimum|maximum)": "it becomes part of a link's name, which has 15 characters",
    r"\w+ .*\.tolerations\[\]\.(operator|effect) enum": "an unknown one would let a machine onto nodes kept clear",
    r"\w+ .*\.virtualMachineIPAddressName minLength": "an empty name would be the collection of all addresses",
    r"VirtualMachinePool .*\.blockDeviceRefs\[\]\.name maxLength": "no name is longer; an API server needs the "
    "bound to admit the rule across the list",
    r"VirtualMachineIPAddress spec\.staticIP maxLength": "what is longer is no address",
    r"VirtualMachineMACAddress spec\.address maxLength": "what is longer is no address",
}
"""``Kind path keyword`` of what we demand beyond it, and why."""


def _demands(schema: Object, path: str) -> Iterator[str]:
    for keyword in sorted(_KEYWORDS & schema.keys()):
        if not (keyword == "format" and schema["format"] in _WIDTHS):
            yield f"{path} {keyword}"
    for name, part in schema.get("properties", {}).items():
        yield from _demands(part, f"{path}.{name}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(keyword), dict):
            yield from _demands(schema[keyword], f"{path}{mark}")


DEMANDS = sorted({
    f"{kind.kind} {demand}"
    for kind in KINDS
    if not kind.core and "spec" in kind.schema["properties"]
    for demand in _demands(kind.schema["properties"]["spec"], "spec")
})  # fmt: skip


def test_whatever_is_demanded_is_the_references_or_has_a_reason() -> None:
    unexplained = [
        demand
        for demand in DEMANDS
        if not any(known.fullmatch(demand) for known in REFERENCE)
        and not any(re.fullmatch(known, demand) for known in STRICTER)
    ]
    assert unexplained == []


@pytest.mark.parametrize("known", [*(known.pattern for known in REFERENCE), *STRICTER])
def test_no_line_is_left_over(known: str) -> None:
    assert any(re.fullmatch(known, demand) for demand in DEMANDS)


def test_an_attachment_may_leave_its_device_to_be_told() -> None:
    """As in the reference, whose schema demands neither of the two."""
    kind = KINDS.by_kind("virtualization.deckhouse.io", "VirtualMachineBlockDeviceAttachment")
    assert kind is not None
    obj = next(obj for obj in examples() if obj["kind"] == kind.kind)
    assert validate(kind.schema, {**obj, "spec": {**obj["spec"], "blockDeviceRef": {}}}) == []


def test_what_the_reference_refuses_is_refused() -> None:
    vm, pool = machine(), next(obj for obj in examples() if obj["kind"] == "VirtualMachinePool")
    vm["spec"]["memory"]["size"] = 1073741824
    assert [cause.field for cause in validate(_schema(vm), vm)] == ["spec.memory.size"]
    template = pool["spec"]["virtualMachineTemplate"]["spec"]
    for broken in (
        {name: value for name, value in template.items() if name != "virtualMachineClassName"},
        {**template, "virtualMachineClassName": ""},
        {**template, "memory": {"size": 1073741824}},
    ):
        obj = {**pool, "spec": {**pool["spec"], "virtualMachineTemplate": {"spec": broken}}}
        (cause,) = validate(_schema(obj), obj)
        assert cause.field.startswith("spec.virtualMachineTemplate.spec.")


def _schema(obj: Object) -> Object:
    kind = KINDS.by_kind("virtualization.deckhouse.io", obj["kind"])
    assert kind is not None
    return kind.schema
