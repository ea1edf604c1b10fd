"""Restore and Clone of machines that are off, in a whole daemon: the objects and the disks' content."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from hyperd.controllers.snapshot.making import Making, Wanted
from hyperd.errors import Conflict, Forbidden, HyperdError, TemporaryError
from hyperd.imagefile.handle import Handle
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_OPERATION,
    VIRTUAL_MACHINE_SNAPSHOT,
    VIRTUAL_MACHINE_SNAPSHOT_OPERATION,
)
from hyperd.resources.kinds.virtual_machine_operation import OperationMode
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import BY_SYSTEM, Item, PatchType, Propagation, Write
from tests.contract.volumes import guest
from tests.unit.controllers.test_machine_snapshots import give_user_data, is_held, take
from tests.unit.controllers.world import World, running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        await made.give_disk()
        await write(made, 1)
        await made.make_machine(runPolicy="Manual")
        await made.phase("Stopped")
        yield made


async def handle(world: World, disk: str) -> Handle:
    volumes = world._daemon._context.volumes
    uid = (await world.store.get(VIRTUAL_DISK, "default", disk)).uid
    found = await volumes.attach(uid)
    await volumes.detach(uid)
    return found


async def write(world: World, pattern: int, disk: str = "vm") -> None:
    guest.fill(await handle(world, disk), pattern, 4096)


async def first(world: World, disk: str = "vm") -> int:
    return guest.read(await handle(world, disk))[0]


def resources(op: Object) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (one["kind"], one["name"]): (one["status"], one["message"]) for one in op["status"].get("resources", ())
    }


async def changed_since_a_snapshot(world: World) -> str:
    """uid of the disk that is there now."""
    await take(world, "one")
    await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
    await write(world, 2)
    patch: Object = {"metadata": {"labels": {"later": "yes"}}, "spec": {"memory": {"size": "256Mi"}}}
    await world.store.patch(VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, patch)
    return (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid


async def make_of(world: World, name: str, snapshot: str, **spec: object) -> None:
    body: Object = {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"type": "CreateVirtualMachine", "virtualMachineSnapshotName": snapshot, **spec},
    }
    await world.store.create(VIRTUAL_MACHINE_SNAPSHOT_OPERATION, "default", body)


async def test_a_restore_puts_machine_and_disk_back_and_leaves_the_power_as_it_was(world: World) -> None:
    disk = await changed_since_a_snapshot(world)
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    op = await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "back")
    assert (find_condition(op, "MaintenanceMode") or {})["reason"] == "MaintenanceModeDisabled"
    assert {key: state for key, (state, _) in resources(op).items()} == {
        ("VirtualMachine", "vm"): "Completed",
        ("VirtualDisk", "vm"): "Completed",
    }
    vm = await world.phase("Stopped")
    assert vm["spec"]["memory"]["size"] == "128Mi"
    assert "labels" not in vm["metadata"]
    assert (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid != disk
    assert await first(world) == 1
    assert await world.kept() == {}


async def test_a_restored_machine_that_ran_runs_again(world: World) -> None:
    await changed_since_a_snapshot(world)
    await world.operate("Start", "up")
    await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "up")
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "back")
    vm = await world.phase("Running")
    assert vm["spec"]["memory"]["size"] == "128Mi"
    assert await first(world) == 1


async def test_a_dry_run_touches_nothing(world: World) -> None:
    disk = await changed_since_a_snapshot(world)
    await world.operate("Restore", "dry", restore={"mode": "DryRun", "virtualMachineSnapshotName": "one"})
    op = await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "dry")
    assert resources(op)["VirtualDisk", "vm"] == ("Completed", 'VirtualDisk "vm" is valid for restore.')
    vm = await world.store.get(VIRTUAL_MACHINE, "default", "vm")
    assert vm.object()["spec"]["memory"]["size"] == "256Mi"
    assert (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid == disk
    assert await first(world) == 2


async def test_a_restore_of_no_snapshot_fails_and_touches_nothing(world: World) -> None:
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "none"})
    op = await world.phase("Failed", VIRTUAL_MACHINE_OPERATION, "back")
    condition = find_condition(op, "Completed") or {}
    assert condition["reason"] == "OperationFailed"
    assert condition["message"] == 'VirtualMachineSnapshot "none" is absent, not Ready.'
    assert await first(world) == 1


async def test_a_restore_whose_data_is_gone_leaves_the_disk_of_today(world: World) -> None:
    disk = await changed_since_a_snapshot(world)
    (kept,) = await world._daemon._context.volumes.snapshots()
    await world._daemon._context.volumes.delete_snapshot(kept.uid)
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    op = await world.phase("Failed", VIRTUAL_MACHINE_OPERATION, "back")
    assert "is gone from the node's pool." in (find_condition(op, "Completed") or {})["message"]
    assert (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid == disk
    assert await first(world) == 2


async def test_a_clone_has_other_names_in_all_that_refers_to_them(world: World) -> None:
    clone = {"mode": "Strict", "customization": {"nameSuffix": "-b"}}
    await world.operate("Clone", "copy", clone=clone)
    op = await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "copy")
    assert (find_condition(op, "SnapshotReady") or {})["reason"] == "SnapshotCleanedUp"
    assert set(resources(op)) == {("VirtualMachine", "vm-b"), ("VirtualDisk", "vm-b")}
    copied = (await world.store.get(VIRTUAL_MACHINE, "default", "vm-b")).object()
    assert copied["spec"]["blockDeviceRefs"] == [{"kind": "VirtualDisk", "name": "vm-b"}]
    assert copied["spec"]["runPolicy"] == "Manual"
    await write(world, 2)
    assert (await first(world), await first(world, "vm-b")) == (2, 1)
    await world.gone(VIRTUAL_MACHINE_SNAPSHOT, f"vmop-clone-{op['metadata']['uid']}")
    await world.settled()
    assert await world._daemon._context.volumes.snapshots() == []
    assert await world.kept() == {}


async def test_nothing_is_made_of_a_clone_one_object_of_which_may_not_be(world: World) -> None:
    names = [("VirtualMachine", "B"), ("VirtualDisk", "b")]
    replaced = [{"from": {"kind": kind, "name": "vm"}, "to": to} for kind, to in names]
    await world.operate("Clone", "copy", clone={"mode": "Strict", "nameReplacement": replaced})
    op = await world.phase("Failed", VIRTUAL_MACHINE_OPERATION, "copy")
    status, message = resources(op)["VirtualMachine", "B"]
    assert status == "Failed"
    assert "lowercase RFC 1123" in message
    assert await world.store.find(VIRTUAL_DISK, "default", "b") is None


@pytest.mark.parametrize(
    "forged",
    [
        None,
        [],
        {"kind": "Node", "metadata": {"name": "n"}},
        {"kind": "VirtualMachine", "metadata": {"name": "vm"}, "spec": {"blockDeviceRefs": [7]}},
        {"kind": "VirtualMachine", "metadata": {"name": "vm", "annotations": "a"}, "spec": {}},
    ],
    ids=str,
)
async def test_a_snapshot_whose_secret_was_changed_ends_the_restore(world: World, forged: object) -> None:
    disk = await changed_since_a_snapshot(world)
    snapshot = (await world.store.get(VIRTUAL_MACHINE_SNAPSHOT, "default", "one")).object()
    name = snapshot["status"]["virtualMachineSnapshotSecretName"]
    data = {"vm": base64.b64encode(orjson.dumps(forged)).decode()}
    await world.store.patch(SECRET, "default", name, PatchType.MERGE, {"data": data})
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    op = await world.phase("Failed", VIRTUAL_MACHINE_OPERATION, "back")
    message = (find_condition(op, "Completed") or {})["message"]
    assert message == f'Secret "{name}" does not hold what a snapshot saves.'
    assert (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid == disk


def attachment(machine: str, image: str) -> Object:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachineBlockDeviceAttachment",
        "metadata": {"namespace": "default", "name": "more"},
        "spec": {"virtualMachineName": machine, "blockDeviceRef": {"kind": "VirtualImage", "name": image}},
    }


@pytest.mark.parametrize("now", ["vm", "another"])
async def test_an_attachment_that_is_another_by_now_is_put_back_or_left_to_its_machine(
    world: World, now: str
) -> None:
    disk = await changed_since_a_snapshot(world)
    snapshot = (await world.store.get(VIRTUAL_MACHINE_SNAPSHOT, "default", "one")).object()
    name = snapshot["status"]["virtualMachineSnapshotSecretName"]
    data = {"vmbdas": base64.b64encode(orjson.dumps([attachment("vm", "then")])).decode()}
    await world.store.patch(SECRET, "default", name, PatchType.MERGE, {"data": data})
    await world.store.create(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, "default", attachment(now, "now"))
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    op = await world.phase("Completed" if now == "vm" else "Failed", VIRTUAL_MACHINE_OPERATION, "back")
    status, message = resources(op)["VirtualMachineBlockDeviceAttachment", "more"]
    found = (await world.store.get(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, "default", "more")).object()
    if now == "vm":
        assert (status, found["spec"]["blockDeviceRef"]["name"]) == ("Completed", "then")
        return
    assert (status, found["spec"]["blockDeviceRef"]["name"]) == ("Failed", "now")
    assert message.endswith("is already in use by virtual machine another.")
    assert (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid == disk


async def test_a_clone_takes_no_name_that_another_has(world: World) -> None:
    clone = {"mode": "Strict", "nameReplacement": [{"from": {"kind": "VirtualMachine", "name": "vm"}, "to": "b"}]}
    await world.operate("Clone", "copy", clone=clone)
    op = await world.phase("Failed", VIRTUAL_MACHINE_OPERATION, "copy")
    assert resources(op)["VirtualDisk", "vm"] == ("Failed", 'VirtualDisk "vm" already exists.')
    assert resources(op)["VirtualMachine", "b"][0] == "Completed"
    assert await world.store.find(VIRTUAL_MACHINE, "default", "b") is None
    await world.gone(VIRTUAL_MACHINE_SNAPSHOT, f"vmop-clone-{op['metadata']['uid']}")


@pytest.mark.parametrize("how", ["Clone", "CreateVirtualMachine"])
async def test_a_copy_that_fails_half_made_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    store, create = world.store, world.store.create
    await give_user_data(world)
    reference = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "seed"}}
    await store.patch(VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, {"spec": {"provisioning": reference}})

    async def refused(kind: Kind, namespace: str, body: Object, **more: Any) -> Item:
        rehearsal = "write" in more
        if kind is VIRTUAL_MACHINE and not rehearsal:
            await world.until(lambda _: True, VIRTUAL_DISK, "new-vm")
            assert await store.find(SECRET, "default", "new-seed") is not None
            raise Forbidden("no more machines today")
        return await create(kind, namespace, body, **more)

    options = {"mode": "Strict", "customization": {"namePrefix": "new-"}}
    monkeypatch.setattr(store, "create", refused)
    if how == "Clone":
        await world.operate("Clone", "copy", clone=options)
        op = await world.ended(VIRTUAL_MACHINE_OPERATION, "copy")
    else:
        await take(world, "one")
        await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
        await make_of(world, "copy", "one", createVirtualMachine=options)
        op = await world.ended(VIRTUAL_MACHINE_SNAPSHOT_OPERATION, "copy")
    assert op["status"]["phase"] == "Failed"
    assert resources(op)["VirtualMachine", "new-vm"] == ("Failed", "no more machines today"), op["status"]
    await world.gone(VIRTUAL_DISK, "new-vm")
    assert await store.find(SECRET, "default", "new-seed") is None
    assert await store.find(SECRET, "default", "seed") is not None
    assert await world.store.find(VIRTUAL_DISK, "default", "vm") is not None
    assert await first(world) == 1


@pytest.mark.parametrize("how", [Propagation.BACKGROUND, Propagation.FOREGROUND])
async def test_a_snapshot_is_kept_until_the_restore_from_it_is_done(world: World, how: Propagation) -> None:
    await changed_since_a_snapshot(world)
    shown = asyncio.create_task(
        world.until(lambda vm: find_condition(vm, "Maintenance") is not None, VIRTUAL_MACHINE, "vm")
    )
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    assert (find_condition(await shown, "Maintenance") or {})["reason"] == "RestoreInProgress"
    await world.store.delete(VIRTUAL_MACHINE_SNAPSHOT, "default", "one", propagation=how)
    op = await world.ended(VIRTUAL_MACHINE_OPERATION, "back")
    assert op["status"]["phase"] == "Completed", find_condition(op, "Completed")
    assert await first(world) == 1
    await world.until(lambda vm: find_condition(vm, "Maintenance") is None, VIRTUAL_MACHINE, "vm")
    await world.gone(VIRTUAL_MACHINE_SNAPSHOT, "one")
    await world.store.delete(VIRTUAL_MACHINE_OPERATION, "default", "back")
    copied = f"d8v-vmop-{op['metadata']['uid']}"
    await world.gone(SECRET, copied)
    assert await world.store.find_all(SECRET, "default") == []


async def test_a_machine_is_restored_of_a_snapshot_one_disk_of_which_somebody_deleted(world: World) -> None:
    await changed_since_a_snapshot(world)
    snapshot = (await world.store.get(VIRTUAL_MACHINE_SNAPSHOT, "default", "one")).object()
    (name,) = snapshot["status"]["virtualDiskSnapshotNames"]
    await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", name)
    held = await world.until(is_held, VIRTUAL_DISK_SNAPSHOT, name)
    assert held["status"]["phase"] == "Ready"
    await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    op = await world.ended(VIRTUAL_MACHINE_OPERATION, "back")
    assert op["status"]["phase"] == "Completed", find_condition(op, "Completed")
    assert await first(world) == 1
    await world.store.delete(VIRTUAL_MACHINE_SNAPSHOT, "default", "one")
    await world.gone(VIRTUAL_MACHINE_SNAPSHOT, "one")
    await world.gone(VIRTUAL_DISK_SNAPSHOT, name)


@pytest.mark.parametrize("error", [Conflict("modified"), Forbidden("no")], ids=["passing", "final"])
async def test_a_restore_goes_on_after_a_lost_race_and_ends_its_maintenance_where_it_cannot(
    world: World, monkeypatch: pytest.MonkeyPatch, error: HyperdError
) -> None:
    await changed_since_a_snapshot(world)
    store, lost = world.store, list[str]()
    update = store.update

    async def late(
        kind: Kind, namespace: str, name: str, body: Object, subresource: str = "", write: Write = BY_SYSTEM
    ) -> Item:
        if kind is VIRTUAL_MACHINE and not subresource and not write.dry_run and not lost:
            lost.append(name)
            raise error
        return await update(kind, namespace, name, body, subresource=subresource, write=write)

    monkeypatch.setattr(store, "update", late)
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    phase = "Completed" if isinstance(error, Conflict) else "Failed"
    op = await world.phase(phase, VIRTUAL_MACHINE_OPERATION, "back")
    assert lost == ["vm"]
    assert (find_condition(op, "MaintenanceMode") or {})["reason"] == "MaintenanceModeDisabled"


async def test_a_restore_waits_for_a_disk_s_snapshot_that_is_not_told_of_yet(world: World) -> None:
    """The machine's says Ready first: who waits for that is not told that something is lost."""
    await changed_since_a_snapshot(world)
    snapshot = (await world.store.get(VIRTUAL_MACHINE_SNAPSHOT, "default", "one")).object()
    wanted = Wanted(snapshot, "o", OperationMode.STRICT)
    making = Making(world._daemon._context, wanted)
    (name,) = snapshot["status"]["virtualDiskSnapshotNames"]
    find = world.store.find

    async def earlier(kind: Kind, namespace: str, asked: str) -> Any:
        found: Any = await find(kind, namespace, asked)
        return {**found, "status": {**found["status"], "phase": "InProgress"}} if asked == name else found

    with pytest.MonkeyPatch.context() as then:
        then.setattr(world.store, "find", earlier)
        with pytest.raises(TemporaryError, match="is not Ready yet"):
            await making.objects()
    assert {each["kind"] for each in await making.objects()} == {"VirtualMachine", "VirtualDisk"}
