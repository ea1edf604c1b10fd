"""Images on volumes, in a whole daemon with its registry: what is made of them, and what uses them."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.controllers import usage
from hyperd.controllers.image.operations.importing import Images, Import
from hyperd.controllers.image.volume import was_on_volume
from hyperd.errors import Invalid
from hyperd.progress import Progress, Report
from hyperd.resources.all import (
    KINDS,
    PERSISTENT_VOLUME_CLAIM,
    RESOURCE_QUOTA,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
)
from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.schema.kind import Object
from hyperd.store.embedded.derived import derived_of
from hyperd.store.interface import PatchType
from tests.parts import Part
from tests.unit.controllers.test_images_of_objects import a_disk, condition, content, images, make, read, settled
from tests.unit.controllers.world import World, running

MIB = 1 << 20
CONTENT = b"\5" * 65536 + bytes(MIB - 65536)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(registry={"url": ""}) as made:
        yield made


async def on_volume(world: World, image: str, storage: str = "PersistentVolumeClaim", **ref: str) -> None:
    body: Object = {
        "metadata": {"namespace": "default", "name": image},
        "spec": {"storage": storage, "dataSource": {"type": "ObjectRef", "objectRef": ref}},
    }
    await world.store.create(VIRTUAL_IMAGE, "default", body)


async def golden(world: World, storage: str = "PersistentVolumeClaim") -> Object:
    await a_disk(world)
    await on_volume(world, "golden", storage, kind="VirtualDisk", name="vm")
    return await settled(world, VIRTUAL_IMAGE, "golden", "Ready")


def file_of(world: World, obj: Object) -> Path:
    return world.state_dir / "volumes" / f"{obj['metadata']['uid']}.qcow2"


@pytest.mark.parametrize("storage", ["PersistentVolumeClaim", "Kubernetes"])
async def test_an_image_is_on_a_volume_and_leaves_the_registry(world: World, storage: str) -> None:
    image = await golden(world, storage)
    uid, status = image["metadata"]["uid"], image["status"]
    assert status["target"] == {"persistentVolumeClaimName": f"d8v-vi-{uid}"}
    assert (status["storageClassName"], status["format"], status["progress"]) == ("local", "qcow2", "100%")
    assert condition(image, "StorageClassReady")["status"] == "True"
    reference = f"{images(world).endpoint.name}/vi/default/golden:{uid}"
    assert await images(world).exists(reference)
    await world.collect()
    assert not await images(world).exists(reference)
    assert await asyncio.to_thread(read, file_of(world, image)) == CONTENT
    assert await world.kept() == {}, "its volume has an owner"
    await world.store.delete(VIRTUAL_IMAGE, "default", "golden")
    async with asyncio.timeout(20):
        while file_of(world, image).exists():
            await asyncio.sleep(0.05)


async def test_an_image_waits_for_the_room_of_its_claim_and_goes_on_with_what_it_has_read(world: World) -> None:
    await a_disk(world)
    quota: Object = {"metadata": {"name": "q"}, "spec": {"hard": {"requests.storage": "1536Ki"}}}
    await world.store.create(RESOURCE_QUOTA, "default", quota)
    await on_volume(world, "golden", kind="VirtualDisk", name="vm")
    waits = await world.until(lambda obj: "exceeded quota" in str(obj.get("status")), VIRTUAL_IMAGE, "golden")
    assert condition(waits, "Ready")["reason"] == "ProvisioningFailed"
    assert (waits["status"]["phase"], "target" in waits["status"]) == ("Failed", False)
    assert "progress" not in waits["status"]
    told = condition(waits, "Ready")["message"]
    assert told.startswith("Quota exceeded: ")
    await world.told("DataSourceQuotaExceed")
    assert "requested: requests.storage=1Mi, used: requests.storage=1Mi, limited: requests.storage=1536Ki" in told
    claims = derived_of(world.store, KINDS)[PERSISTENT_VOLUME_CLAIM]
    assert len(await claims.find_all(PERSISTENT_VOLUME_CLAIM)) == 1, "the disk's"
    more = {"spec": {"hard": {"requests.storage": "2Mi"}}}
    await world.store.patch(RESOURCE_QUOTA, "default", "q", PatchType.MERGE, more)
    image = await settled(world, VIRTUAL_IMAGE, "golden", "Ready")
    name = f"d8v-vi-{image['metadata']['uid']}"
    assert image["status"]["target"] == {"persistentVolumeClaimName": name}
    claim = await claims.find(PERSISTENT_VOLUME_CLAIM, "default", name)
    assert claim is not None
    assert (claim["status"]["phase"], claim["status"]["capacity"]) == ("Bound", {"storage": "1Mi"})
    assert claim["metadata"]["ownerReferences"][0]["kind"] == "VirtualImage"
    await world.store.delete(VIRTUAL_IMAGE, "default", "golden")
    await world.until(lambda quota: quota["status"]["used"]["requests.storage"] == "1Mi", RESOURCE_QUOTA, "q")


async def test_disks_and_images_are_made_of_it(world: World) -> None:
    image = await golden(world)
    await make(world, VIRTUAL_IMAGE, "plain", kind="VirtualImage", name="golden")
    assert await content(world, await settled(world, VIRTUAL_IMAGE, "plain", "Ready")) == CONTENT
    claim = {"persistentVolumeClaim": {"size": "2Mi"}}
    source = {"dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "golden"}}}
    body: Object = {"metadata": {"namespace": "default", "name": "clone"}, "spec": {**source, **claim}}
    await world.store.create(VIRTUAL_DISK, "default", body)
    disk = await settled(world, VIRTUAL_DISK, "clone", "Ready")
    assert (disk["status"]["capacity"], disk["status"]["storageClassName"]) == ("2Mi", "local")
    await world.store.delete(VIRTUAL_IMAGE, "default", "golden")
    async with asyncio.timeout(20):
        while file_of(world, image).exists():
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(read, file_of(world, disk)) == CONTENT + bytes(MIB)


async def test_a_machine_reads_it_and_keeps_it(world: World) -> None:
    image = await golden(world)
    refs = [{"kind": "VirtualDisk", "name": "vm"}, {"kind": "VirtualImage", "name": "golden"}]
    await world.make_machine(blockDeviceRefs=refs)
    vm = await world.phase("Running")
    domain = await world.hypervisor.info(vm["metadata"]["uid"])
    assert domain is not None
    await world.store.delete(VIRTUAL_IMAGE, "default", "golden")
    going = await settled(world, VIRTUAL_IMAGE, "golden", "Terminating")
    assert condition(going, "Terminating")["reason"] == "CleanupPending"
    assert file_of(world, image).exists()
    await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
    await world.gone()
    async with asyncio.timeout(20):
        while file_of(world, image).exists():
            await asyncio.sleep(0.05)


async def test_it_is_let_go_with_the_last_guest_that_reads_it(world: World) -> None:
    image = await golden(world)
    uid = image["metadata"]["uid"]
    ref = {"kind": "VirtualImage", "name": "golden"}
    await world.make_machine(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "vm"}, ref], runPolicy="AlwaysOn")
    await world.phase("Running")
    other: Object = {
        "metadata": {"namespace": "default", "name": "other"},
        "spec": {
            "cpu": {"cores": 1},
            "memory": {"size": "128Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "more"}, ref],
            "runPolicy": "AlwaysOn",
        },
    }
    disk: Object = {"metadata": {"name": "more"}, "spec": {"persistentVolumeClaim": {"size": "1Mi"}}}
    await world.store.create(VIRTUAL_DISK, "default", disk)
    await world.store.create(VIRTUAL_MACHINE, "default", other)
    await world.phase("Running", VIRTUAL_MACHINE, "other")
    off: Object = {"spec": {"runPolicy": "AlwaysOff"}}
    for name in ("other", "vm"):
        assert told(world, uid) is not None, "a guest may open it"
        await world.store.patch(VIRTUAL_MACHINE, "default", name, PatchType.MERGE, off)
        await world.phase("Stopped", VIRTUAL_MACHINE, name)
    assert told(world, uid) is None


def told(world: World, uid: str) -> str | None:
    (backend,) = world._daemon._context.volumes._backends.values()  # type: ignore[attr-defined]
    found: str | None = backend.attacher._merger.told(uid)
    return found


async def test_its_volume_stays_while_a_guest_has_it_that_no_informer_shows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await golden(world)
    refs = [{"kind": "VirtualDisk", "name": "vm"}, {"kind": "VirtualImage", "name": "golden"}]
    await world.make_machine(blockDeviceRefs=refs)
    await world.phase("Running")
    monkeypatch.setattr(usage, "machines_using", lambda *_: [])
    await world.store.delete(VIRTUAL_IMAGE, "default", "golden")
    going = await settled(world, VIRTUAL_IMAGE, "golden", "Terminating")
    message = condition(going, "Terminating")["message"]
    assert "holds the image; stop it first." in message or "has the image open" in message
    await world.looked()
    assert file_of(world, image).exists()


async def test_its_volume_stays_where_the_store_has_another_image_than_the_informer_shows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await golden(world)
    shown = world._daemon._context.informer(VIRTUAL_IMAGE)
    while (body := shown.get("default", "golden")) is None or body["status"].get("phase") != "Ready":
        await asyncio.sleep(0.01)
    late = copy.deepcopy(body)
    late["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    late["metadata"]["resourceVersion"] = "1"
    with monkeypatch.context() as old:
        old.setattr(shown, "get", lambda *_: late)
        world.look_at(VIRTUAL_IMAGE, "golden")
        await world.settled()
    assert file_of(world, image).exists()


async def test_a_volume_that_is_gone_is_lost_and_comes_back() -> None:
    async with running(registry={"url": "", "presence_check_seconds": 0.2}) as world:
        image = await golden(world)
        path = file_of(world, image)
        away = path.with_name("away")
        os.rename(path, away)
        lost = await settled(world, VIRTUAL_IMAGE, "golden", "PVCLost")
        assert condition(lost, "Ready")["reason"] == "PVCLost"
        os.rename(away, path)
        await settled(world, VIRTUAL_IMAGE, "golden", "Ready")


async def test_it_waits_for_a_class(world: World) -> None:
    await on_volume(world, "golden", kind="VirtualDisk", name="vm")
    await settled(world, VIRTUAL_IMAGE, "golden", "Pending")
    await world.store.delete(STORAGE_CLASS, "", "local")
    with pytest.raises(Invalid, match="There is no default StorageClass"):
        await on_volume(world, "another", kind="VirtualDisk", name="vm")
    waiting = await world.until(
        lambda image: condition(image, "StorageClassReady").get("status") == "False", VIRTUAL_IMAGE, "golden"
    )
    class_ = condition(waiting, "StorageClassReady")
    assert (class_["status"], class_["reason"]) == ("False", "StorageClassNotFound")
    assert condition(waiting, "Ready")["reason"] == "StorageClassNotReady"
    late: Object = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "late", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
    }
    await world.store.create(STORAGE_CLASS, "", late)
    await a_disk(world)
    ready = await settled(world, VIRTUAL_IMAGE, "golden", "Ready")
    assert ready["status"]["storageClassName"] == "late"


@pytest.mark.parametrize(("storage", "most"), [("ContainerRegistry", 1.0), ("PersistentVolumeClaim", 0.5)])
async def test_progress_towards_a_volume_does_not_go_back(
    world: World, monkeypatch: pytest.MonkeyPatch, storage: str, most: float
) -> None:
    context = world._daemon._context
    url = {"type": "HTTP", "http": {"url": "http://example.com/a"}}
    meta = {"namespace": "default", "name": "a", "uid": "u", "generation": 1}
    image: Part = {"kind": "VirtualImage", "metadata": meta, "spec": {"storage": storage, "dataSource": url}}
    step = Import(Images(context, VIRTUAL_IMAGE, nobody_has), image, "op")._step
    seen: list[Progress] = []

    async def make(report: Report) -> None:
        report(Progress(1.0, 1, 1, 1))

    monkeypatch.setattr(step, "make", make)
    await step.run(seen.append)
    assert [progress.fraction for progress in seen] == [most], "the second half is the way onto the volume"


async def nobody_has(_: object) -> str:
    return ""


@pytest.mark.parametrize(
    ("storage", "status", "may_be"),
    [
        ("PersistentVolumeClaim", {}, True),
        ("ContainerRegistry", {"storageClassName": "local"}, True),
        ("ContainerRegistry", {"phase": "Ready"}, False),
    ],
)
def test_a_volume_is_looked_for_where_there_may_be_one(storage: str, status: Part, may_be: bool) -> None:
    assert was_on_volume({"kind": "VirtualImage", "spec": {"storage": storage}, "status": status}) is may_be
