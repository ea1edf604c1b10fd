"""Classes, addresses, operations and secrets keep their rules."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from hyperd.admission import Policy, review
from hyperd.admission.context import nobody_may
from hyperd.admission.dispatch import reviewer
from hyperd.resources.all import NODE, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.settings import Settings
from hyperd.store.interface import AdmissionRequest
from tests.unit.admission.world import ALICE, World, changed, make, stored, told

DEFAULT = {"virtualmachineclass.virtualization.deckhouse.io/is-default-class": "true"}


def class_(*policies: Object, name: str = "small", **parts: Any) -> Object:
    spec = {"cpu": {"type": "Host"}, "sizingPolicies": list(policies)}
    return make("VirtualMachineClass", name, spec=spec, **parts)


def policy(low: int = 1, high: int = 4, **more: Any) -> Object:
    return {"cores": {"min": low, "max": high}, **more}


async def test_policies_do_not_overlap() -> None:
    assert told(await World().create(class_(policy(1, 4), policy(5, 8)))) == []
    assert told(await World().create(class_(policy(1, 4), policy(4, 8)))) == [
        'spec.sizingPolicies[1].cores: Invalid value: "4-8": VirtualMachineClass "small" has size '
        "policy cpu crosses: "
        "1-4 is in another policy"
    ]


async def test_only_one_class_is_the_default() -> None:
    first = class_(name="first", metadata={"annotations": DEFAULT})
    second = class_(name="second", metadata={"annotations": DEFAULT})
    assert 'VirtualMachineClass "first" is the default already' in told(await World([first]).create(second))[0]
    unmarked = class_(name="second")
    assert told(await World([first, unmarked]).update(stored(unmarked), second))
    assert told(await World([first]).update(stored(first), changed(first, tolerations=[]))) == []


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"coreFractions": [5, 10], "defaultCoreFraction": 20}, "20: must be one of coreFractions: 5, 10"),
        ({"defaultCoreFraction": 0}, "0: must be a percentage from 1 to 100"),
        ({"defaultCoreFraction": "5%"}, '"5%": must be a percentage from 1 to 100'),
        ({"defaultCoreFraction": "Auto"}, "automatic scaling of the core fraction is not built"),
        ({"memory": {"min": "2Gi", "max": "1Gi"}}, '"1Gi": must not be less than min, 2Gi'),
        ({"memory": {"perCore": {"min": "1e9999"}}}, "is not a quantity such as 10Gi or 500m"),
        ({"memory": {"step": "-1"}}, '"-1": must not be negative'),
    ],
)
async def test_a_policy_makes_sense(more: Object, line: str) -> None:
    assert line in told(await World().create(class_(policy(**more))))[0]


def address(type_: str = "Static", ip: str | None = "10.66.10.14", **parts: Any) -> Object:
    spec = {"type": type_} if ip is None else {"type": type_, "staticIP": ip}
    return make("VirtualMachineIPAddress", "web", spec=spec, **parts)


def lease(holder: str, namespace: str = "default", phase: str = "Bound") -> Object:
    reference = {"namespace": namespace, **({"name": holder} if holder else {})}
    return make(
        "VirtualMachineIPAddressLease",
        "ip-10-66-10-14",
        spec={"virtualMachineIPAddressRef": reference},
        status={"phase": phase},
    )


@pytest.mark.parametrize("ip", ["10.66.11.1", "10.66.10.0", "10.66.10.1", "10.66.10.255"])
async def test_an_address_that_cannot_be_leased_is_refused(ip: str) -> None:
    assert told(await World().create(address(ip=ip))) == [
        f'spec.staticIP: Invalid value: "{ip}": must be in 10.66.10.0/24, and neither the network, '
        f"the gateway nor "
        "the broadcast address of it"
    ]


@pytest.mark.parametrize(
    ("holder", "namespace", "phase", "fault"),
    [
        ("web", "default", "Bound", ""),
        ("db", "default", "Bound", 'it is leased to VirtualMachineIPAddress "db"'),
        ("web", "other", "Bound", "it is leased to another namespace"),
        ("", "default", "Released", ""),
        ("", "other", "Released", "it was released by another namespace a short while ago"),
    ],
)
async def test_a_leased_address_goes_to_its_namespace_only(
    holder: str, namespace: str, phase: str, fault: str
) -> None:
    lines = told(await World([lease(holder, namespace, phase)]).create(address()))
    assert (fault in lines[0]) if fault else lines == []


async def test_without_ranges_there_are_no_addresses() -> None:
    assert told(await World(policy=Policy()).create(address("Auto", None))) == [
        "spec: Forbidden: no virtualMachineCIDRs are configured, so there are no addresses"
    ]


async def test_a_bound_address_can_only_be_pinned() -> None:
    old = address("Auto", None, status={"phase": "Bound", "address": "10.66.10.14"})
    world = World([lease("web")])
    assert told(await world.update(old, changed(old, type="Static", staticIP="10.66.10.14"))) == []
    moved = changed(old, type="Static", staticIP="10.66.10.15")
    assert "the address 10.66.10.14 is bound" in told(await world.update(old, moved))[0]


async def test_who_pins_an_address_is_told_that_the_ranges_are_others_by_now() -> None:
    old = address("Auto", None, status={"phase": "Bound", "address": "10.99.0.7"})
    response = await World().update(old, changed(old, type="Static", staticIP="10.99.0.7"))
    assert response.causes == []
    assert response.warnings == ["spec: the address 10.99.0.7 is in none of the virtualMachineCIDRs any more"]


def operation(type_: str, name: str = "new", *, phase: str = "", force: bool = False) -> Object:
    spec: Object = {"type": type_, "virtualMachineName": "web", **({"force": True} if force else {})}
    return make("VirtualMachineOperation", name, spec=spec, status={"phase": phase} if phase else {})


@pytest.mark.parametrize(
    ("running", "new", "accepted"),
    [
        (("Start", False), ("Stop", False), True),
        (("Start", False), ("Restart", True), False),
        (("Start", False), ("Start", False), False),
        (("Stop", False), ("Stop", True), True),
        (("Stop", False), ("Restart", True), True),
        (("Stop", False), ("Stop", False), False),
        (("Stop", False), ("Start", False), False),
        (("Stop", True), ("Stop", True), False),
        (("Restart", False), ("Stop", True), True),
        (("Restart", False), ("Restart", True), True),
        (("Restart", False), ("Stop", False), False),
        (("Migrate", False), ("Stop", False), True),
        (("Evict", False), ("Restart", False), True),
        (("Evict", False), ("Migrate", False), False),
    ],
)
async def test_a_stronger_operation_takes_over(
    running: tuple[str, bool], new: tuple[str, bool], accepted: bool
) -> None:
    world = World([operation(running[0], "old", phase="InProgress", force=running[1])])
    lines = told(await world.create(operation(new[0], force=new[1])))
    expected = (
        'spec: Forbidden: VMOP cannot be executed now. Previously created operation "old" of type '
        f'{running[0]} on VirtualMachine "web" should finish first'
    )
    assert lines == ([] if accepted else [expected])


async def test_nobody_else_says_that_an_operation_is_an_update_of_qemu() -> None:
    """Updates wait for each other."""
    key = "virtualization.deckhouse.io/workload-update-image"
    forged = operation("Evict")
    forged["metadata"]["annotations"] = {key: "digest"}
    said = f'metadata.annotations: Invalid value: "{key}": is reserved for the system'
    assert told(await World([]).create(forged)) == [said]
    assert told(await World([]).update(operation("Evict"), forged)) == [said]
    assert told(await World([]).update(forged, forged)) == []


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Superseded"])
async def test_finished_operations_are_in_nobodys_way(phase: str) -> None:
    response = await World([operation("Stop", "old", phase=phase)]).create(operation("Start"))
    assert response.causes == []
    assert response.object is not None
    assert response.object["metadata"]["finalizers"] == ["virtualization.deckhouse.io/vmop-cleanup"]


async def test_operations_of_other_machines_are_in_nobodys_way() -> None:
    other = operation("Stop", "old", phase="InProgress")
    other["spec"]["virtualMachineName"] = "db"
    elsewhere = operation("Stop", "old", phase="InProgress")
    elsewhere["metadata"]["namespace"] = "elsewhere"
    assert told(await World([other, elsewhere]).create(operation("Start"))) == []


async def test_an_operation_that_is_not_built_is_accepted_with_a_warning() -> None:
    response = await World().create(operation("Migrate"))
    assert response.causes == []
    warned = "Only machines in Pods are migrated (kubernetes.pods): here this operation will fail."
    assert response.warnings == [f"spec.type: {warned}"]


def secret(type_: str, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "init", "namespace": "default"},
        "type": f"provisioning.virtualization.deckhouse.io/{type_}",
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    }


@pytest.mark.parametrize(
    ("obj", "warning"),
    [
        (secret("cloud-init", userData="#cloud-config\n"), ""),
        (secret("cloud-init", userdata="#!/bin/sh\n"), ""),
        (secret("cloud-init", user_data="#cloud-config\n"), "needs the key userData"),
        (secret("cloud-init", userData="hello"), "data[userData]: its first line is no header"),
        (secret("sysprep", answers="x"), "needs the key autounattend.xml or unattend.xml"),
        (secret("sysprep", **{"unattend.xml": "x"}), ""),
    ],
)
async def test_a_secret_that_no_guest_could_use_is_warned_of(obj: Object, warning: str) -> None:
    response = await World().create(obj)
    assert response.causes == []
    assert (warning in response.warnings[0]) if warning else response.warnings == []


async def test_kinds_without_rules_pass_untouched() -> None:
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}
    request = AdmissionRequest("CREATE", NODE, "", "a", node, None, ALICE, World())
    response = await review(request)
    assert response.object is node
    assert not response.causes


async def test_deletions_and_status_pass() -> None:
    old = make("VirtualMachine", "web", spec={})
    delete = AdmissionRequest("DELETE", VIRTUAL_MACHINE, "default", "web", None, old, ALICE, World())
    assert (await review(delete)).causes == []
    status = AdmissionRequest(
        "UPDATE", VIRTUAL_MACHINE, "default", "web", old, old, ALICE, World(), subresource="status"
    )
    assert (await review(status)).object is old


async def test_a_reviewer_knows_the_settings() -> None:
    admit = reviewer(Settings(), may=nobody_may)
    new = stored(address())
    request = AdmissionRequest(
        "CREATE", _kind("VirtualMachineIPAddress"), "default", "web", new, None, ALICE, World()
    )
    assert (await admit(request)).causes == []


def _kind(name: str) -> Any:
    from hyperd.resources.all import KINDS

    return KINDS.by_kind("virtualization.deckhouse.io", name)
