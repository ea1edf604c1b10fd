"""Images that are made of other images and of disks, by a whole daemon with its registry."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.interface import PatchType
from registry.interface import Images
from tests.unit.controllers.world import World, running

MIB = 1 << 20


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(registry={"url": ""}) as made:
        yield made


def images(world: World) -> Images:
    return world._daemon._context.images


async def make(world: World, made: Kind, made_name: str, **ref: str) -> None:
    namespace = "default" if made.namespaced else ""
    body: Object = {
        "metadata": {"name": made_name, **({"namespace": namespace} if namespace else {})},
        "spec": {"dataSource": {"type": "ObjectRef", "objectRef": ref}},
    }
    await world.store.create(made, namespace, body)


async def settled(world: World, kind: Kind, name: str, phase: str) -> Object:
    """Once it has the phase for its spec."""
    async with asyncio.timeout(20), world.store.watch(kind, None) as events:
        async for event in events:
            found: Object = event.item.object()
            if event.item.name == name and (found.get("status") or {}).get("phase") == phase:
                return found
    raise AssertionError("the watch ended")


def condition(obj: Object, type_: str) -> Object:
    return next((c for c in obj["status"]["conditions"] if c["type"] == type_), {})


async def a_disk(world: World) -> Path:
    """The disk ``vm`` with fives at its begin, and its file."""
    await world.give_disk()
    uid = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
    path = world.state_dir / "volumes" / f"{uid}.qcow2"
    await asyncio.to_thread(write, path)
    return path


def write(path: Path) -> None:
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 5 0 64k", path], check=True)


def read(path: Path) -> bytes:
    raw = path.with_suffix(".read")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw], check=True)
    content = raw.read_bytes()
    raw.unlink()
    return content


async def content(world: World, image: Object) -> bytes:
    copied = await images(world).copy(image["status"]["target"]["registryURL"])
    return await asyncio.to_thread(read, copied.path)


async def test_an_image_is_made_of_a_disk_and_further_ones_of_that_image(world: World) -> None:
    await a_disk(world)
    await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDisk", name="vm")
    golden = await settled(world, VIRTUAL_IMAGE, "golden", "Ready")
    disk = await world.until(lambda d: condition(d, "InUse")["status"] == "False", VIRTUAL_DISK, "vm")
    status = golden["status"]
    assert (status["format"], status["cdrom"], status["progress"]) == ("qcow2", False, "100%")
    assert (status["sourceUID"], status["size"]["unpacked"]) == (disk["metadata"]["uid"], "1Mi")
    assert condition(golden, "DatasourceReady")["status"] == "True"
    expected = b"\5" * 65536 + bytes(MIB - 65536)
    assert await content(world, golden) == expected

    await make(world, CLUSTER_VIRTUAL_IMAGE, "all", kind="VirtualImage", name="golden", namespace="default")
    shared = await settled(world, CLUSTER_VIRTUAL_IMAGE, "all", "Ready")
    await make(world, VIRTUAL_IMAGE, "own", kind="ClusterVirtualImage", name="all")
    own = await settled(world, VIRTUAL_IMAGE, "own", "Ready")
    assert own["status"]["sourceUID"] == shared["metadata"]["uid"]

    await world.store.delete(VIRTUAL_IMAGE, "default", "golden")
    await world.store.delete(CLUSTER_VIRTUAL_IMAGE, "", "all")
    async with asyncio.timeout(20):
        while await world.store.find(CLUSTER_VIRTUAL_IMAGE, "", "all") is not None:
            await asyncio.sleep(0.05)
        while await world.store.find(VIRTUAL_IMAGE, "default", "golden") is not None:
            await asyncio.sleep(0.05)
    await world.collect()
    assert await content(world, own) == expected, "what the copy needs stays in the registry"


async def test_an_image_that_was_made_is_not_made_anew_by_a_change_of_what_may_change(world: World) -> None:
    await a_disk(world)
    await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDisk", name="vm")
    made = await settled(world, VIRTUAL_IMAGE, "golden", "Ready")
    await world.store.delete(VIRTUAL_DISK, "default", "vm")
    await world.gone(VIRTUAL_DISK)
    # As a client with Go's types writes it back.
    written: Object = {"spec": {"persistentVolumeClaim": {}}}
    await world.store.patch(VIRTUAL_IMAGE, "default", "golden", PatchType.MERGE, written)
    seen = await world.until(lambda image: image["status"]["observedGeneration"] == 2, VIRTUAL_IMAGE, "golden")
    ready = condition(seen, "Ready")
    assert (seen["status"]["phase"], ready["status"], ready["observedGeneration"]) == ("Ready", "True", 2)
    assert seen["status"]["target"] == made["status"]["target"]
    assert await content(world, seen) == b"\5" * 65536 + bytes(MIB - 65536)


async def test_an_image_is_made_of_a_snapshot_whose_disk_is_gone(world: World) -> None:
    path = await a_disk(world)
    await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDiskSnapshot", name="one")
    waiting = await settled(world, VIRTUAL_IMAGE, "golden", "Pending")
    assert condition(waiting, "DatasourceReady")["reason"] == "VirtualDiskSnapshotNotReady"
    body: Object = {"metadata": {"namespace": "default", "name": "one"}, "spec": {"virtualDiskName": "vm"}}
    await world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", body)
    golden = await settled(world, VIRTUAL_IMAGE, "golden", "Ready")
    await world.store.delete(VIRTUAL_DISK, "default", "vm")
    await world.gone(VIRTUAL_DISK)
    await make(world, CLUSTER_VIRTUAL_IMAGE, "all", kind="VirtualDiskSnapshot", name="one", namespace="default")
    shared = await settled(world, CLUSTER_VIRTUAL_IMAGE, "all", "Ready")
    for image in (golden, shared):
        assert await content(world, image) == b"\5" * 65536 + bytes(MIB - 65536)
    assert shared["status"]["sourceUID"] != path.stem


async def test_a_disk_that_a_guest_has_is_waited_for(world: World) -> None:
    await a_disk(world)
    await world.make_machine()
    await world.phase("Running")
    await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDisk", name="vm")
    waiting = await settled(world, VIRTUAL_IMAGE, "golden", "Pending")
    source = condition(waiting, "DatasourceReady")
    assert source["reason"] == "VirtualDiskAttachedToVirtualMachine"
    assert source["message"] == 'VirtualMachine "vm" uses VirtualDisk "vm"; stop it first.'
    assert condition(waiting, "Ready")["reason"] == "DatasourceNotReady"
    await world.operate("Stop", "stop")
    await settled(world, VIRTUAL_IMAGE, "golden", "Ready")


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ({"kind": "VirtualDisk", "name": "vm"}, "VirtualDiskNotReady"),
        ({"kind": "VirtualImage", "name": "other"}, "ImageNotReady"),
        ({"kind": "ClusterVirtualImage", "name": "other"}, "ClusterImageNotReady"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_source_that_is_not_there_is_waited_for(world: World, ref: dict[str, str], reason: str) -> None:
    await make(world, VIRTUAL_IMAGE, "copy", **ref)
    waiting = await settled(world, VIRTUAL_IMAGE, "copy", "Pending")
    found = condition(waiting, "DatasourceReady")
    assert (found["reason"], found["message"]) == (reason, f'{ref["kind"]} "{ref["name"]}" does not exist.')
    if ref["kind"] == "VirtualDisk":
        await world.give_disk()
        await settled(world, VIRTUAL_IMAGE, "copy", "Ready")


async def test_an_import_waits_for_the_registrys_garbage_collection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.interface.RETRY_SECONDS", 0.3)
    await a_disk(world)
    with images(world)._client.gate.collecting():  # type: ignore[attr-defined]
        await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDisk", name="vm")
        waiting = await settled(world, VIRTUAL_IMAGE, "golden", "Pending")
        assert condition(waiting, "Ready")["reason"] == "ProvisioningPostponed"
        assert "progress" not in waiting["status"]
        await world.told("DataSourceImportStarted", "ImageOperationPostponedDueToDVCRGarbageCollection")
    await settled(world, VIRTUAL_IMAGE, "golden", "Ready")
    await world.told("ImageOperationContinueAfterDVCRGarbageCollection", "DataSourceImportCompleted")


class Held:
    """An import of a volume that is held up in the middle."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        found = images(world)
        take = found.take_volume

        async def held(*arguments: object, **named: object) -> object:
            self.reached.set()
            await self.go_on.wait()
            return await take(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(found, "take_volume", held)


async def test_while_a_disk_is_read_no_machine_starts_with_it_and_it_is_not_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_disk(world)
    held = Held(world, monkeypatch)
    await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDisk", name="vm")
    async with asyncio.timeout(20):
        await held.reached.wait()
    disk = await world.until(lambda d: condition(d, "InUse")["status"] == "True", VIRTUAL_DISK, "vm")
    used = condition(disk, "InUse")
    assert used["reason"] == "UsedForImageCreation"
    assert used["message"].startswith('VirtualImage "golden" is being made of the disk')
    await world.make_machine()
    vm = await world.phase("Pending")
    assert "is being read for an image" in condition(vm, "BlockDevicesReady")["message"]
    await world.store.delete(VIRTUAL_DISK, "default", "vm")
    going = await world.phase("Terminating", VIRTUAL_DISK)
    assert condition(going, "Terminating")["reason"] == "CleanupPending"
    held.go_on.set()
    golden = await settled(world, VIRTUAL_IMAGE, "golden", "Ready")
    await world.gone(VIRTUAL_DISK)
    assert (await content(world, golden))[:5] == b"\5" * 5


async def test_a_machine_that_starts_at_the_same_time_lets_the_image_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has written that it starts before the disk could say that it is read."""
    await a_disk(world)
    held = Held(world, monkeypatch)
    await world.make_machine()
    await world.phase("Running")
    status = {"status": {"phase": "Stopped"}}
    await world.store.patch(VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, status, subresource="status")
    await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDisk", name="vm")
    await world.looked()
    await settled(world, VIRTUAL_IMAGE, "golden", "Pending")
    assert not held.reached.is_set(), "what a guest writes to is not read"


async def test_an_image_that_is_deleted_meanwhile_frees_its_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_disk(world)
    held = Held(world, monkeypatch)
    await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDisk", name="vm")
    async with asyncio.timeout(20):
        await held.reached.wait()
    await world.store.delete(VIRTUAL_IMAGE, "default", "golden")
    await world.until(lambda d: condition(d, "InUse")["reason"] == "NotInUse", VIRTUAL_DISK, "vm")
    await world.make_machine()
    await world.phase("Running")


async def test_a_restart_in_the_middle_takes_it_up_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_disk(world)
    held = Held(world, monkeypatch)
    await make(world, VIRTUAL_IMAGE, "golden", kind="VirtualDisk", name="vm")
    async with asyncio.timeout(20):
        await held.reached.wait()
    await world.restart()
    await settled(world, VIRTUAL_IMAGE, "golden", "Ready")
