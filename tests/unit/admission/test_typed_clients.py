"""A client with Go's types cannot leave a field out: what it sends for nothing means nothing."""

from __future__ import annotations

import pytest

from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Object
from hyperd.resources.schema.structural import check_rules, validate
from hyperd.resources.values.names import VM_UID_LABEL
from tests.unit.admission.world import GROUP, World, changed, make, stored, told

DISKS = [{"kind": "VirtualDisk", "name": "root"}]
CONTAINER = {"image": "docker.io/library/debian:12"}


def machine(**more: object) -> Object:
    spec = {"cpu": {"cores": 1}, "memory": {"size": "1Gi"}, "blockDeviceRefs": DISKS, **more}
    return make("VirtualMachine", "web", spec=spec)


def class_(**memory: object) -> Object:
    policy = {"cores": {"min": 1, "max": 4}, "memory": memory}
    marks = {"virtualmachineclass.virtualization.deckhouse.io/is-default-class": "true"}
    spec = {"cpu": {"type": "Host"}, "nodeSelector": {}, "sizingPolicies": [policy]}
    return make("VirtualMachineClass", "small", spec=spec, metadata={"annotations": marks})


def image(kind: str, secret: Object) -> Object:
    source = {
        "type": "ContainerImage",
        "containerImage": {**CONTAINER, "imagePullSecret": secret, "caBundle": None},
    }
    return make(kind, "debian", spec={"dataSource": source})


NOTHING = [
    machine(virtualMachineClassName="", liveMigrationPolicy="AlwaysSafe"),
    machine(tolerations=[{"key": "dedicated", "operator": "", "effect": ""}]),
    class_(min="1Gi", max="8Gi", step="0", perCore={"min": "0", "max": "0"}),
    class_(min="0", max="0", step="0", perCore={"min": "1Gi", "max": "2Gi"}),
    image("VirtualImage", {}),
    image("ClusterVirtualImage", {"name": "", "namespace": ""}),
]


@pytest.mark.parametrize("obj", NOTHING, ids=lambda obj: obj["kind"])
async def test_empty_values_are_no_values(obj: Object) -> None:
    world = World([] if obj["kind"] == "VirtualMachineClass" else [class_()])
    assert told(await world.create(obj)) == []


async def test_an_empty_class_is_the_default_one() -> None:
    response = await World([class_()]).create(machine(virtualMachineClassName=""))
    assert response.object is not None
    assert response.object["spec"]["virtualMachineClassName"] == "small"


async def test_a_limit_of_zero_limits_nothing() -> None:
    unlimited = class_(min="0", max="0", step="0", perCore={"min": "1Gi", "max": "2Gi"})
    assert told(await World([unlimited]).create(machine(memory={"size": "1500Mi"}))) == []
    assert "between 1Gi and 2Gi" in told(await World([unlimited]).create(machine(memory={"size": "3Gi"})))[0]


@pytest.mark.parametrize(
    "reference",
    [
        "my_registry.example.com:5000/os/debian:12",
        "a/b@sha256:" + "A" * 64,
        "debian",
        "localhost/x@sha512:" + "0" * 128,
    ],
)
def test_references_of_the_reference_are_accepted(reference: str) -> None:
    kind = KINDS.by_kind(GROUP, "VirtualImage")
    assert kind is not None
    obj = image("VirtualImage", {"name": "registry"})
    del obj["spec"]["dataSource"]["containerImage"]["caBundle"]
    obj["spec"]["dataSource"]["containerImage"]["image"] = reference
    assert validate(kind.schema, obj) == []
    assert check_rules(kind, obj, None) == []


@pytest.mark.parametrize("kind", ["VirtualDisk", "VirtualImage", "ClusterVirtualImage"])
async def test_what_is_written_back_as_it_was_read_is_no_change_of_the_source(kind: str) -> None:
    source = {"type": "ContainerImage", "containerImage": CONTAINER}
    old = stored(make(kind, "debian", spec={"dataSource": source}))
    old["status"] = {"phase": "Ready"}
    new = changed(old, dataSource=image(kind, {})["spec"]["dataSource"])
    new["metadata"]["labels"] = {"mine": "yes"}
    assert told(await World().update(old, new)) == []
    new["spec"]["dataSource"]["containerImage"]["imagePullSecret"] = {"name": "other"}
    assert len(told(await World().update(old, new))) == 1


async def test_operations_are_found_by_their_machine() -> None:
    operation = make("VirtualMachineOperation", "stop", spec={"type": "Stop", "virtualMachineName": "web"})
    operation["metadata"]["labels"] = {"mine": "yes"}
    there = machine()
    there["metadata"]["uid"] = "u-1"
    response = await World([there]).create(operation)
    assert response.object is not None
    assert response.object["metadata"]["labels"] == {"mine": "yes", VM_UID_LABEL: "u-1"}
