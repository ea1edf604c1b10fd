"""A pool is refused for what would be refused of its machines and disks, and only by name where it says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hyperd.admission import Policy, review
from hyperd.resources.all import VIRTUAL_MACHINE_POOL
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import SYSTEM, AdmissionRequest
from tests.unit.admission.world import World, make, stored, told
from tests.unit.resources.samples import example


def world(*objects: Object) -> World:
    return World([make("VirtualMachineClass", "generic", spec={"cpu": {"type": "Host"}}), *objects])


def pool(name: str = "workers", **spec: Any) -> Object:
    obj = example("VirtualMachinePool", "workers")
    obj["metadata"]["name"] = name
    obj["spec"].update(spec)
    return obj


def with_machine(**spec: Any) -> Object:
    obj = pool()
    obj["spec"]["virtualMachineTemplate"]["spec"].update(spec)
    return obj


def with_metadata(**metadata: Any) -> Object:
    obj = pool()
    obj["spec"]["virtualMachineTemplate"]["metadata"] = metadata
    return obj


def with_disk(index: int = 1, **spec: Any) -> Object:
    obj = pool()
    obj["spec"]["virtualDiskTemplates"][index]["spec"] = spec
    return obj


async def test_a_pool_that_fits_is_taken_as_it_is() -> None:
    response = await world().create(pool())
    assert (told(response), response.warnings) == ([], [])
    assert response.object == stored(pool()), "what machines get by default is theirs, not the template's"


@pytest.mark.parametrize(
    ("obj", "field", "text"),
    [
        (pool("p" * 58), "metadata.name", "no more than 57 characters"),
        (pool("a.b"), "metadata.name", 'must not contain "."'),
        (with_machine(cpu={"cores": 17}), "spec.virtualMachineTemplate.spec.cpu.cores", "multiple of 2"),
        (with_machine(memory={"size": "0"}), "spec.virtualMachineTemplate.spec.memory.size", "greater than zero"),
        (
            with_machine(liveMigrationPolicy="Never"),
            "spec.virtualMachineTemplate.spec.liveMigrationPolicy",
            "Never",
        ),
        (
            with_machine(virtualMachineClassName="gone", cpu={"cores": 1}),
            "spec.virtualMachineTemplate.spec.virtualMachineClassName",
            "does not exist",
        ),
        (
            with_machine(cpu={"cores": 1, "coreFraction": "Auto"}),
            "spec.virtualMachineTemplate.spec.cpu.coreFraction",
            "Auto",
        ),
        (with_metadata(labels={"a b": "c"}), "spec.virtualMachineTemplate.metadata.labels", "alphanumeric"),
        (with_metadata(labels={"a": "v" * 64}), "spec.virtualMachineTemplate.metadata.labels", "63 bytes"),
        (
            with_metadata(annotations={"a/b/c": "d"}),
            "spec.virtualMachineTemplate.metadata.annotations",
            "alphanumeric",
        ),
        (with_disk(), "spec.virtualDiskTemplates[1].spec.persistentVolumeClaim.size", "a blank disk needs a size"),
        (
            with_disk(persistentVolumeClaim={"size": "1Gi", "storageClassName": "gone"}),
            "spec.virtualDiskTemplates[1].spec.persistentVolumeClaim.storageClassName",
            "does not exist",
        ),
    ],
)
async def test_what_its_machines_and_disks_could_not_be_is_refused(obj: Object, field: str, text: str) -> None:
    (cause,) = (await world().create(obj)).causes
    assert cause.field == field
    assert text in cause.message


async def test_labels_of_the_system_are_not_for_templates() -> None:
    obj = pool()
    obj["spec"]["virtualMachineTemplate"]["metadata"] = {
        "labels": {"vmpool.virtualization.deckhouse.io/pool-uid": "other"}
    }
    (cause,) = (await world().create(obj)).causes
    assert cause.field == "spec.virtualMachineTemplate.metadata.labels"


async def test_what_is_not_changed_is_not_judged_again() -> None:
    old = stored(with_machine(virtualMachineClassName="gone"))
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 9
    assert told(await world().update(old, new)) == []


async def test_one_address_is_not_for_many() -> None:
    networks = [
        {"type": "Main"},
        {"type": "ClusterNetwork", "name": "lan", "virtualMachineMACAddressName": "mine"},
    ]
    response = await world().create(with_machine(virtualMachineIPAddressName="mine", networks=networks))
    found = [each.partition(": ")[0] for each in response.warnings if "one of them can have it" in each]
    path = "spec.virtualMachineTemplate.spec."
    assert found == [f"{path}networks[1].virtualMachineMACAddressName", f"{path}virtualMachineIPAddressName"]


async def test_a_lower_number_without_names_is_told_to_do_nothing() -> None:
    old, new = stored(pool(scaleDownPolicy="Explicit")), stored(pool(scaleDownPolicy="Explicit", replicas=1))
    response = await world().update(old, new)
    assert told(response) == []
    assert "removes no machine for a lower number" in response.warnings[0]
    quiet = await World(user=SYSTEM).update(old, new)
    assert quiet.warnings == []
    assert (await world().update(stored(pool()), stored(pool(replicas=1)))).warnings == []


async def scaled(policy: str, old: int | None, new: int | None) -> list[str]:
    kept = world(stored(pool(scaleDownPolicy=policy)))

    def scale(number: int | None) -> Object:
        return {"metadata": {}, "spec": {} if number is None else {"replicas": number}}

    request = AdmissionRequest(
        "UPDATE", VIRTUAL_MACHINE_POOL, "default", "workers", scale(new), scale(old), kept.user, kept,
        subresource="scale",
    )  # fmt: skip
    return told(await review(request, policy=Policy()))


@pytest.mark.parametrize(("old", "new"), [(3, 2), (1, None), (2, 0)])
async def test_scale_does_not_choose_whom_only_a_name_may_choose(old: int, new: int | None) -> None:
    (line,) = await scaled("Explicit", old, new)
    assert line.startswith('spec.replicas: Forbidden: VirtualMachinePool "workers" has scaleDownPolicy Explicit')
    assert "scaledownwith" in line
    assert await scaled("NewestFirst", old, new) == []


@pytest.mark.parametrize(("old", "new"), [(3, 3), (None, 0), (None, 2), (2, 5)])
async def test_scale_raises_any_pool(old: int | None, new: int | None) -> None:
    assert await scaled("Explicit", old, new) == []
