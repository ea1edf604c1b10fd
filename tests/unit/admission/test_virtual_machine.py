"""A machine is completed from its class and refused with a sentence that says what to do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hyperd.admission import Policy
from hyperd.resources.kinds.virtual_machine_operation import (
    MaintenanceModeReason,
    OperationCondition,
    OperationPhase,
)
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import set_condition
from hyperd.store.interface import SYSTEM
from tests.unit.admission.world import World, changed, make, stored, told
from tests.unit.resources.samples import example, machine

DEFAULT = "virtualmachineclass.virtualization.deckhouse.io/is-default-class"


def small_class(**policy: Any) -> Object:
    policies = [{"cores": {"min": 1, "max": 4}, **policy}]
    spec: Object = {"cpu": {"type": "Host"}, "sizingPolicies": policies}
    return make("VirtualMachineClass", "small", spec=spec, metadata={"annotations": {DEFAULT: "true"}})


def open_class() -> Object:
    return make("VirtualMachineClass", "open", spec={"cpu": {"type": "Host"}})


def world(*objects: Object) -> World:
    return World([small_class(), open_class(), *objects])


def large(cores: int) -> Object:
    return changed(machine(), virtualMachineClassName="open", cpu={"cores": cores})


async def test_the_default_class_and_the_whole_core_are_filled_in() -> None:
    response = await world().create(machine())
    assert response.causes == []
    assert response.warnings == []
    assert response.object is not None
    assert response.object["spec"]["virtualMachineClassName"] == "small"
    assert response.object["spec"]["cpu"]["coreFraction"] == "100%"
    assert response.object["metadata"]["finalizers"] == ["virtualization.deckhouse.io/vm-cleanup"]


async def test_the_policys_default_fraction_is_filled_in() -> None:
    response = await World([small_class(coreFractions=[20, 50], defaultCoreFraction=20)]).create(machine())
    assert response.object is not None
    assert response.object["spec"]["cpu"]["coreFraction"] == "20%"


async def test_without_a_default_fraction_the_user_chooses() -> None:
    assert told(await World([small_class(coreFractions=[20, 50])]).create(machine())) == [
        'spec.cpu.coreFraction: Required value: VirtualMachineClass "small" has no default for 2 cores: '
        "choose 20% or 50%"
    ]


async def test_without_a_default_class_the_user_names_one() -> None:
    assert told(await World([open_class()]).create(machine())) == [
        "spec.virtualMachineClassName: Required value: there is no default VirtualMachineClass: "
        "set the name, or mark "
        f'a class with the annotation {DEFAULT}="true"'
    ]


async def test_a_missing_class_is_waited_for_only_when_the_fraction_is_known() -> None:
    obj = changed(machine(), virtualMachineClassName="later")
    assert told(await world().create(obj)) == [
        'spec.virtualMachineClassName: Invalid value: "later": VirtualMachineClass "later" does '
        "not exist, and "
        "spec.cpu.coreFraction is not set"
    ]
    obj["spec"]["cpu"]["coreFraction"] = "50%"
    response = await world().create(obj)
    assert response.causes == []
    assert response.warnings == [
        'spec.virtualMachineClassName: VirtualMachineClass "later" does not exist; the virtual '
        "machine waits for it"
    ]


async def test_a_size_outside_the_policies_is_refused_with_what_would_do() -> None:
    obj = changed(machine(), cpu={"cores": 5})
    assert told(await world().create(obj)) == [
        'spec: Forbidden: VirtualMachineClass "small" does not allow this size: spec.cpu.cores is 5, but must be '
        "between 1 and 4. Change that, or ask the administrator for another sizing policy."
    ]


@pytest.mark.parametrize("cores", [1, 16, 18, 32, 36, 64, 72, 248])
async def test_cores_on_the_socket_grid_are_accepted(cores: int) -> None:
    assert told(await world().create(large(cores))) == []


@pytest.mark.parametrize(("cores", "sockets"), [(17, 2), (34, 4), (66, 8), (247, 8)])
async def test_cores_off_the_socket_grid_are_refused(cores: int, sockets: int) -> None:
    assert told(await world().create(large(cores))) == [
        f"spec.cpu.cores: Invalid value: {cores}: must be a multiple of {sockets}: so many cores "
        f"are spread over "
        f"{sockets} sockets"
    ]


async def test_more_cores_than_a_guest_can_have_are_refused() -> None:
    assert told(await world().create(large(256))) == [
        "spec.cpu.cores: Invalid value: 256: must be no more than 248"
    ]


@pytest.mark.parametrize("size", ["0", "-1Gi", "2Pi", "1e9999"])
async def test_memory_is_a_sensible_quantity(size: object) -> None:
    (line,) = told(await world().create(changed(machine(), memory={"size": size})))
    assert line.startswith("spec.memory.size: Invalid value: ")


async def test_the_name_fits_a_label() -> None:
    obj = machine()
    obj["metadata"]["name"] = "a" * 64
    assert "must be no more than 63 characters" in told(await world().create(obj))[0]


@pytest.mark.parametrize("field", ["labels", "annotations"])
async def test_keys_of_our_group_are_the_systems(field: str) -> None:
    obj = machine()
    obj["metadata"][field] = {"virtualization.deckhouse.io/vm-start-requested": "true"}
    (line,) = told(await world().create(obj))
    assert line == (
        f'metadata.{field}: Invalid value: "virtualization.deckhouse.io/vm-start-requested": keys with '
        "virtualization.deckhouse.io are reserved for the system"
    )
    before = machine()
    assert told(await world().update(stored(before), obj))
    ours = world()
    ours.user = SYSTEM
    assert told(await ours.update(stored(before), obj)) == []


@pytest.mark.parametrize("field", ["labels", "annotations"])
async def test_keys_of_the_references_hypervisor_are_the_users(field: str) -> None:
    """Its end-to-end suite sets one on machines."""
    obj, key = machine(), "kubevirt.internal.virtualization.deckhouse.io/disable-in-place-resize"
    obj["metadata"][field] = {key: "true"}
    response = await world().create(obj)
    assert told(response) == []
    assert response.warnings == [f"metadata.{field}: {key} is heeded by nothing here"]
    assert response.object is not None
    assert response.object["metadata"][field] == {key: "true"}


async def test_the_spec_of_a_machine_that_a_restore_rebuilds_stays_as_it_is() -> None:
    old = stored(changed(machine(), virtualMachineClassName="open", cpu={"cores": 1, "coreFraction": "100%"}))
    new = changed(old, memory={"size": "3Gi"})
    marked = copy.deepcopy(old)
    marked["metadata"]["labels"] = {"mine": "yes"}
    where, name = old["metadata"]["namespace"], old["metadata"]["name"]
    spec = {"type": "Restore", "virtualMachineName": name}
    restore = make("VirtualMachineOperation", "back", namespace=where, spec=spec)
    restore["status"] = {"phase": OperationPhase.IN_PROGRESS}
    assert told(await world(restore).update(old, new)) == []
    mode = OperationCondition.MAINTENANCE_MODE
    set_condition(restore, mode, True, reason=MaintenanceModeReason.ENABLED)
    assert told(await world(restore).update(old, new)) == [
        'spec: Forbidden: VirtualMachineOperation "back" restores it: wait until that is done'
    ]
    assert told(await world(restore).update(old, marked)) == []
    ours = world(restore)
    ours.user = SYSTEM
    assert told(await ours.update(old, new)) == []
    set_condition(restore, mode, False, reason=MaintenanceModeReason.DISABLED)
    assert told(await world(restore).update(old, new)) == []


async def test_a_device_is_whole_and_named_once() -> None:
    obj = changed(
        machine(),
        blockDeviceRefs=[
            {"kind": "VirtualDisk", "name": "a", "bootOrder": 1},
            {"kind": "VirtualDisk", "name": "a"},
            {"kind": "VirtualDisk", "name": "b", "bootOrder": 1},
        ],
    )
    assert told(await world().create(obj)) == [
        'spec.blockDeviceRefs[1]: Duplicate value: {"kind": "VirtualDisk", "name": "a"}',
        "spec.blockDeviceRefs[2].bootOrder: Duplicate value: 1",
    ]
    assert told(await world().create(changed(machine(), blockDeviceRefs=[{"kind": "VirtualDisk"}]))) == [
        "spec.blockDeviceRefs[0].name: Required value: a block device has a kind and a name"
    ]


@pytest.mark.parametrize(("cdrom", "refused"), [(True, False), (False, True)])
async def test_only_a_cdrom_image_may_come_first(cdrom: bool, refused: bool) -> None:
    image = make("VirtualImage", "debian", spec={}, status={"phase": "Ready", "cdrom": cdrom})
    obj = changed(machine(), blockDeviceRefs=[{"kind": "VirtualImage", "name": "debian"}])
    lines = told(await world(image).create(obj))
    assert bool(lines) == refused
    if refused:
        assert "a non-CDROM VirtualImage cannot occupy the first position in block devices" in lines[0]


NETWORK_FAULTS: list[tuple[list[Object], str]] = [
    (
        [{"type": "Network", "name": "a"}, {"type": "Main"}],
        'spec.networks[1].type: Invalid value: "Main": Main must be the first network, and only once',
    ),
    ([{"type": "Main", "name": "a"}], "spec.networks[0].name: Forbidden: Main has no name"),
    ([{"type": "Main", "id": 2}], "spec.networks[0].id: Invalid value: 2: the id of Main is 1"),
    (
        [{"type": "Main"}, {"type": "Network"}],
        "spec.networks[1].name: Required value: a network of type Network needs a name",
    ),
    (
        [{"type": "Main"}, {"type": "Network", "name": "a"}, {"type": "Network", "name": "a"}],
        'spec.networks[2]: Duplicate value: {"type": "Network", "name": "a"}',
    ),
    (
        [{"type": "Main"}, {"type": "Network", "name": "a", "id": 2}, {"type": "Network", "name": "b", "id": 2}],
        "spec.networks[2].id: Duplicate value: 2",
    ),
]


@pytest.mark.parametrize(("networks", "line"), NETWORK_FAULTS)
async def test_networks_are_in_order(networks: list[Object], line: str) -> None:
    assert line in told(await world().create(changed(machine(), networks=networks)))


async def test_an_address_needs_a_range_and_the_main_network() -> None:
    obj = changed(machine(), virtualMachineIPAddressName="web-ip")
    without = World([small_class()], policy=Policy())
    assert "no virtualMachineCIDRs are configured" in told(await without.create(obj))[0]
    obj["spec"]["networks"] = [{"type": "Network", "name": "a"}]
    assert told(await world().create(obj)) == [
        "spec.virtualMachineIPAddressName: Forbidden: an address needs the network Main"
    ]


async def test_an_address_in_use_is_refused() -> None:
    address = make("VirtualMachineIPAddress", "ip", spec={"type": "Auto"}, status={"virtualMachineName": "db"})
    obj = changed(machine(), virtualMachineIPAddressName="ip")
    assert told(await world(address).create(obj)) == [
        'spec.virtualMachineIPAddressName: Invalid value: "ip": it is used by VirtualMachine "db"'
    ]


async def test_an_address_of_the_machines_name_must_be_named() -> None:
    address = make("VirtualMachineIPAddress", "web", spec={"type": "Auto"})
    assert 'a VirtualMachineIPAddress "web" exists' in told(await world(address).create(machine()))[0]
    named = changed(machine(), virtualMachineIPAddressName="web")
    assert told(await world(address).create(named)) == []


async def test_a_change_of_labels_asks_nothing_of_the_spec() -> None:
    old = stored(changed(machine(), virtualMachineClassName="gone", cpu={"cores": 7}))
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"app": "web"}
    assert told(await World().update(old, new)) == []


async def test_a_machine_that_is_being_deleted_may_be_changed_to_what_is_right() -> None:
    old = stored(machine())
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    new = copy.deepcopy(old)
    new["metadata"]["finalizers"] = []
    new["spec"]["terminationGracePeriodSeconds"] = 5
    assert told(await world().update(old, new)) == []
    new["spec"]["cpu"]["cores"] = 249
    assert told(await world().update(old, new)) == ["spec.cpu.cores: Invalid value: 249: must be no more than 248"]


async def test_what_has_no_effect_is_told() -> None:
    obj = example("VirtualMachine", "everything")
    obj["spec"].update(virtualMachineClassName="open")
    address = make("VirtualMachineIPAddress", "web", spec={"type": "Auto"})
    response = await world(address).create(obj)
    assert response.causes == []
    assert [warning.partition(":")[0] for warning in response.warnings] == [
        "spec.affinity.virtualMachineAndPodAntiAffinity",
        "spec.topologySpreadConstraints",
        "spec.priorityClassName",
        "spec.liveMigrationPolicy",
    ]


async def test_what_would_break_a_promise_is_refused() -> None:
    response = await world().create(changed(machine(), cpu={"cores": 1, "coreFraction": "Auto"}))
    assert [cause.field for cause in response.causes] == ["spec.cpu.coreFraction"]
    assert response.causes[0].reason == "FieldValueForbidden"


async def test_oddities_are_warned_of() -> None:
    obj = changed(machine(), osType="Legacy", enableParavirtualization=True)
    assert "systems of osType Legacy seldom have drivers" in (await world().create(obj)).warnings[0]
    old = stored(changed(machine(), enableParavirtualization=False))
    new = changed(old, blockDeviceRefs=[{"kind": "VirtualDisk", "name": "other"}])
    assert "needs a restart" in (await world().update(old, new)).warnings[0]


@pytest.mark.parametrize(
    ("text", "oddity"),
    [
        ("#cloud-config\npackages: [a]\n", ""),
        ("#!/bin/sh\ntrue\n", ""),
        ("## template: jinja\n#cloud-config\n{% if %}", ""),
        ("#include\nhttps://example.com", ""),
        ("Content-Type: multipart/mixed", ""),
        ("  \n", "it is empty"),
        ("packages: [a]", "its first line is no header that cloud-init knows"),
        ("#cloud-config\na: [", "it is not valid YAML in line 2"),
        ("#cloud-config\na: &a [*a, *a]", ""),
    ],
)
async def test_user_data_is_looked_over(text: str, oddity: str) -> None:
    response = await world().create(changed(machine(), provisioning={"type": "UserData", "userData": text}))
    assert response.causes == []
    assert [warning.startswith(f"spec.provisioning.userData: {oddity}") for warning in response.warnings] == (
        [True] if oddity else []
    )
