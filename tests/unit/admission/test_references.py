"""What reaches further than its own namespace needs its user to be allowed there, too."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from hyperd.admission import Policy
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.interface import SYSTEM, User
from tests.unit.admission.world import World, changed, make, stored, told


@dataclass
class Rights:
    """What somebody may do, as (verb, plural, namespace, name); remembers what was asked."""

    given: set[tuple[str, str, str, str]] = field(default_factory=set)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)

    async def may(self, user: User, verb: str, kind: Kind, namespace: str, name: str) -> bool:
        self.asked.append((verb, kind.plural, namespace, name))
        return self.asked[-1] in self.given


def cluster_image(source: Object) -> Object:
    return make("ClusterVirtualImage", "shared", spec={"dataSource": source})


def from_object(kind: str) -> Object:
    reference = {"kind": kind, "name": "theirs", "namespace": "foreign"}
    return cluster_image({"type": "ObjectRef", "objectRef": reference})


PULL_SECRET = cluster_image(
    {
        "type": "ContainerImage",
        "containerImage": {
            "image": "registry.example.com/os:1",
            "imagePullSecret": {"name": "theirs", "namespace": "foreign"},
        },
    }
)


def operation(type_: str) -> Object:
    more: dict[str, Object] = {
        "Restore": {"restore": {"mode": "Strict", "virtualMachineSnapshotName": "s"}},
        "Clone": {"clone": {"mode": "Strict", "customization": {"namePrefix": "x-"}}},
    }
    return make(
        "VirtualMachineOperation", "op", spec={"type": type_, "virtualMachineName": "web", **more.get(type_, {})}
    )


MATRIX = [
    (from_object("VirtualImage"), ("get", "virtualimages", "foreign", "theirs")),
    (from_object("VirtualDisk"), ("get", "virtualdisks", "foreign", "theirs")),
    (from_object("VirtualDiskSnapshot"), ("get", "virtualdisksnapshots", "foreign", "theirs")),
    (PULL_SECRET, ("get", "secrets", "foreign", "theirs")),
]
COPIES = {
    ("create", plural)
    for plural in (
        "virtualmachines", "virtualdisks", "virtualmachineipaddresses", "virtualmachineblockdeviceattachments",
        "secrets",
    )
}  # fmt: skip
RESTORES = COPIES | {
    ("update", "virtualmachines"), ("delete", "virtualdisks"), ("delete", "virtualmachineblockdeviceattachments")
}  # fmt: skip
MACHINE_OF_SNAPSHOT = make(
    "VirtualMachineSnapshotOperation",
    "op",
    spec={
        "type": "CreateVirtualMachine",
        "virtualMachineSnapshotName": "s",
        "createVirtualMachine": {"mode": "Strict", "customization": {"namePrefix": "x-"}},
    },
)


@pytest.mark.parametrize(("obj", "needed"), MATRIX, ids=[needed[1] + "-" + needed[0] for _, needed in MATRIX])
async def test_each_reference_needs_its_own_right(obj: Object, needed: tuple[str, str, str, str]) -> None:
    nothing = Rights()
    refused = await World(policy=Policy(may=nothing.may)).create(obj)
    assert nothing.asked == [needed]
    verb, plural, namespace, _ = needed
    group = "" if plural == "secrets" else "virtualization.deckhouse.io"
    assert refused.forbidden.endswith(
        f'User "alice" cannot {verb} resource "{plural}" in API group "{group}" in the namespace "{namespace}"'
    )
    assert refused.forbidden.startswith(f'{obj["kind"].lower()}s.virtualization.deckhouse.io "')

    right = Rights({needed})
    assert (await World(policy=Policy(may=right.may)).create(obj)).forbidden == ""
    assert (await World(policy=Policy(), user=SYSTEM).create(obj)).forbidden == ""


@pytest.mark.parametrize(
    ("obj", "needed"),
    [(operation("Restore"), RESTORES), (operation("Clone"), COPIES), (MACHINE_OF_SNAPSHOT, COPIES)],
    ids=["restore", "clone", "make of a snapshot"],
)
async def test_who_has_a_machine_made_may_make_each_part_of_it(obj: Object, needed: set[tuple[str, str]]) -> None:
    all_of_it = {(verb, plural, "default", "") for verb, plural in needed}
    rights = Rights(all_of_it)
    assert (await World(policy=Policy(may=rights.may)).create(obj)).forbidden == ""
    assert set(rights.asked) == all_of_it, "and nothing else is asked for"
    for missing in all_of_it:
        lacking = Rights(all_of_it - {missing})
        refused = (await World(policy=Policy(may=lacking.may)).create(obj)).forbidden
        assert f'cannot {missing[0]} resource "{missing[1]}"' in refused, missing


@pytest.mark.parametrize("refers", [False, True])
async def test_secrets_are_asked_about_where_one_is_made(refers: bool) -> None:
    provisioning: Object = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "seed"}}
    machine = make("VirtualMachine", "web", spec={"provisioning": provisioning} if refers else {})
    resources = [{"apiVersion": "v1", "kind": "Secret", "name": "seed"}] if refers else []
    snapshot = make("VirtualMachineSnapshot", "s", spec={}, status={"resources": resources})
    secret = ("create", "secrets", "default", "")
    for obj in (operation("Restore"), operation("Clone"), MACHINE_OF_SNAPSHOT):
        rights = Rights({(verb, plural, "default", "") for verb, plural in RESTORES} - {secret})
        refused = (await World([machine, snapshot], policy=Policy(may=rights.may)).create(obj)).forbidden
        assert ("secrets" in refused) is refers
        assert (secret in rights.asked) is refers


async def test_a_changed_source_is_asked_about_again() -> None:
    nothing = Rights()
    world = World(policy=Policy(may=nothing.may))
    old = stored(cluster_image({"type": "HTTP", "http": {"url": "https://example.org/a.img"}}))
    relabelled = changed(old)
    relabelled["metadata"]["labels"] = {"a": "b"}
    assert (await world.update(old, relabelled)).forbidden == ""
    moved = changed(old, dataSource=from_object("VirtualDisk")["spec"]["dataSource"])
    assert "virtualdisks" in (await world.update(old, moved)).forbidden


@pytest.mark.parametrize("type_", ["Start", "Stop", "Restart", "Migrate", "Evict"])
async def test_power_needs_no_more_than_the_operation(type_: str) -> None:
    response = await World(policy=Policy()).create(operation(type_))
    assert (response.forbidden, told(response)) == ("", [])
