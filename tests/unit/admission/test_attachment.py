"""Rules of attachments, and of machines that have some."""

from __future__ import annotations

import pytest

from hyperd.resources.schema.kind import Object
from hyperd.store.interface import AdmissionResponse
from tests.unit.admission.world import World, changed, make, stored
from tests.unit.resources.samples import machine

KIND = "VirtualMachineBlockDeviceAttachment"
VM = machine()["metadata"]["name"]
NAMESPACE = machine()["metadata"]["namespace"]


def attachment(name: str, device: str, *, kind: str = "VirtualDisk", vm: str = VM) -> Object:
    ref = {"kind": kind, "name": device}
    return make(KIND, name, namespace=NAMESPACE, spec={"virtualMachineName": vm, "blockDeviceRef": ref})


def told(answer: AdmissionResponse) -> str:
    return " ".join(f"{cause.field}: {cause.message}" for cause in answer.causes)


async def test_an_attachment_is_fixed_and_has_its_finalizer_from_birth() -> None:
    answer = await World([stored(machine())]).create(attachment("a", "more"))
    assert answer.causes == []
    assert answer.warnings == []
    assert answer.object is not None
    assert answer.object["metadata"]["finalizers"] == ["virtualization.deckhouse.io/vmbda-cleanup"]


@pytest.mark.parametrize("field", ["kind", "name"])
async def test_a_device_has_a_kind_and_a_name(field: str) -> None:
    obj = attachment("a", "more")
    del obj["spec"]["blockDeviceRef"][field]
    assert f"spec.blockDeviceRef.{field}: Required" in told(await World([stored(machine())]).create(obj))


async def test_a_device_is_attached_once() -> None:
    world = World([stored(machine()), attachment("a", "more"), attachment("i", "img", kind="VirtualImage")])
    assert 'attached by VirtualMachineBlockDeviceAttachment "a"' in told(
        await world.create(attachment("b", "more"))
    )
    assert "already" in told(await world.create(attachment("b", "more", vm="other")))
    assert "already" in told(await world.create(attachment("b", "img", kind="VirtualImage")))
    assert told(await world.create(attachment("b", "img", kind="VirtualImage", vm="other"))) == ""


async def test_a_device_of_the_spec_is_for_the_controller_to_refuse() -> None:
    own = machine()["spec"]["blockDeviceRefs"][0]
    answer = await World([stored(machine())]).create(attachment("b", own["name"], kind=own["kind"]))
    assert told(answer) == ""


async def test_spec_and_attachments_together_have_sixteen_places() -> None:
    room = 16 - len(machine()["spec"]["blockDeviceRefs"])
    some = [attachment(f"a{number}", f"d{number}") for number in range(room)]
    assert told(await World([stored(machine()), *some[1:]]).create(attachment("b", "more"))) == ""
    full = World([stored(machine()), *some])
    assert "17 devices found, 16 is maximum" in told(await full.create(attachment("b", "more")))
    old = stored(machine())
    refs = [*old["spec"]["blockDeviceRefs"], {"kind": "VirtualDisk", "name": "more"}]
    assert "17 devices found, 16 is maximum" in told(await full.update(old, changed(old, blockDeviceRefs=refs)))


async def test_a_device_that_an_attachment_brought_is_not_put_into_the_spec() -> None:
    world, old = World([attachment("a", "more")]), stored(machine())
    refs = [*old["spec"]["blockDeviceRefs"], {"kind": "VirtualDisk", "name": "more"}]
    assert "delete that first" in told(await world.update(old, changed(old, blockDeviceRefs=refs)))
    assert "more" not in told(await World().update(old, changed(old, blockDeviceRefs=refs)))


async def test_an_attachment_that_goes_leaves_its_device_to_the_spec_and_its_place_with_it() -> None:
    room, old = 16 - len(machine()["spec"]["blockDeviceRefs"]), stored(machine())
    going, *others = (attachment(f"a{number}", f"d{number}") for number in range(room))
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world = World([going, *others])

    def naming(device: str) -> Object:
        return changed(
            old, blockDeviceRefs=[*old["spec"]["blockDeviceRefs"], {"kind": "VirtualDisk", "name": device}]
        )

    assert told(await world.update(old, naming("d0"))) == told(await World().update(old, naming("d0")))
    assert "17 devices found, 16 is maximum" in told(await world.update(old, naming("more")))


async def test_an_old_system_without_drivers_takes_none() -> None:
    legacy = stored(changed(machine(), osType="Legacy", enableParavirtualization=False))
    assert "osType Legacy" in told(await World([legacy]).create(attachment("a", "more")))


async def test_a_disk_of_another_node_is_refused() -> None:
    vm = {**stored(machine()), "status": {"nodeName": "one"}}
    where = {"annotations": {"volume.kubernetes.io/selected-node": "two"}}
    disk = make("VirtualDisk", "more", namespace=NAMESPACE, metadata=where, spec={})
    assert "is on node two, and the virtual machine on node one" in told(
        await World([vm, disk]).create(attachment("a", "more"))
    )
