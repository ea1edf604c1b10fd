"""What is made of a volume of another provisioner, in a whole daemon with two: it fails, and says why."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.storage import backends
from tests.contract.volumes import rawfiles
from tests.contract.volumes.test_daemon import CLASS
from tests.unit.controllers.test_images_of_objects import a_disk, condition, settled
from tests.unit.controllers.world import World, running

OTHER = CLASS["metadata"]["name"]
SNAPSHOT: Object = {"metadata": {"namespace": "default", "name": "one"}, "spec": {"virtualDiskName": "vm"}}


@pytest.fixture(autouse=True)
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", (*backends.BACKENDS, rawfiles.RawFiles))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(registry={"url": ""}) as made:
        await made.store.create(STORAGE_CLASS, "", CLASS)
        yield made


async def make(world: World, kind: Kind, made: str, of: str, source: str, class_: str = OTHER) -> None:
    spec: Object = {
        "dataSource": {"type": "ObjectRef", "objectRef": {"kind": of, "name": source}},
        "persistentVolumeClaim": {"storageClassName": class_},
    }
    if kind is VIRTUAL_IMAGE:
        spec["storage"] = "PersistentVolumeClaim"
    await world.store.create(kind, "default", {"metadata": {"namespace": "default", "name": made}, "spec": spec})


async def test_a_source_that_comes_later_and_is_of_another_provisioner_is_told(world: World) -> None:
    await make(world, VIRTUAL_IMAGE, "of-disk", "VirtualDisk", "vm")
    await make(world, VIRTUAL_IMAGE, "of-snapshot", "VirtualDiskSnapshot", "one")
    await make(world, VIRTUAL_DISK, "vd-of-snapshot", "VirtualDiskSnapshot", "one")
    await make(world, VIRTUAL_IMAGE, "of-image", "VirtualImage", "golden")
    await make(world, VIRTUAL_DISK, "vd-of-image", "VirtualImage", "golden")
    await settled(world, VIRTUAL_IMAGE, "of-disk", "Pending")
    await a_disk(world)
    await world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", SNAPSHOT)
    failed = await settled(world, VIRTUAL_IMAGE, "of-disk", "Failed")
    ready = condition(failed, "Ready")
    assert (ready["reason"], "progress" in failed["status"]) == ("ProvisioningFailed", False)
    assert "Cross-provider PVC copy is not supported" in ready["message"]
    await world.until(lambda disk: condition(disk, "InUse")["status"] == "False", VIRTUAL_DISK, "vm")
    await make(world, VIRTUAL_IMAGE, "golden", "VirtualDisk", "vm", "local")
    for kind, name, what in (
        (VIRTUAL_IMAGE, "of-snapshot", "snapshot restore"),
        (VIRTUAL_DISK, "vd-of-snapshot", "snapshot restore"),
        (VIRTUAL_IMAGE, "of-image", "PVC copy"),
        (VIRTUAL_DISK, "vd-of-image", "PVC copy"),
    ):
        failed = await settled(world, kind, name, "Failed")
        assert f"Cross-provider {what} is not supported" in condition(failed, "Ready")["message"]
