"""Snapshots of machines that are off, in a whole daemon; tests/host/machine has those with guests."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import orjson
import pytest

from hyperd.resources.all import SECRET, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_MACHINE_SNAPSHOT
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from tests.unit.controllers.test_disk_snapshots import WAITS, wait_for_a_consumer
from tests.unit.controllers.world import World, running

SECRET_TYPE = "provisioning.virtualization.deckhouse.io/cloud-init"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


async def take(world: World, name: str, **spec: object) -> None:
    body: Object = {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"virtualMachineName": "vm", **spec},
    }
    await world.store.create(VIRTUAL_MACHINE_SNAPSHOT, "default", body)


async def give_user_data(world: World) -> None:
    body: Object = {
        "metadata": {"namespace": "default", "name": "seed"},
        "type": SECRET_TYPE,
        "data": {"userData": base64.b64encode(b"#cloud-config\n").decode()},
    }
    await world.store.create(SECRET, "default", body)


def ready(snapshot: Object) -> Object:
    return find_condition(snapshot, "VirtualMachineSnapshotReady") or {}


def is_held(snapshot: Object) -> bool:
    told = find_condition(snapshot, "VirtualDiskSnapshotReady") or {}
    return "holds it; delete that." in told.get("message", "")


async def test_a_disk_s_snapshot_that_is_deleted_while_it_is_taken_is_taken_all_the_same(world: World) -> None:
    await world.give_disk()
    await world.make_machine(runPolicy="AlwaysOff")
    await world.phase("Stopped")
    await take(world, "one")
    name = f"vm-{(await world.store.get(VIRTUAL_MACHINE_SNAPSHOT, 'default', 'one')).uid}"
    await world.until(lambda _: True, VIRTUAL_DISK_SNAPSHOT, name)
    await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", name)
    await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
    await world.until(lambda vds: vds["status"]["phase"] == "Ready" and is_held(vds), VIRTUAL_DISK_SNAPSHOT, name)


async def test_a_snapshot_that_is_deleted_says_which_disk_it_waits_for(world: World) -> None:
    await world.give_disk()
    await world.make_machine(runPolicy="AlwaysOff")
    await world.phase("Stopped")
    await take(world, "one")
    (name,) = (await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one"))["status"]["virtualDiskSnapshotNames"]
    await wait_for_a_consumer(world, name)
    await world.store.delete(VIRTUAL_MACHINE_SNAPSHOT, "default", "one")
    message = f'{WAITS}VirtualDiskSnapshot "{name}"; it goes once that is made, or deleted.'
    told = await world.until(lambda vms: ready(vms).get("message") == message, VIRTUAL_MACHINE_SNAPSHOT, "one")
    assert told["status"]["phase"] == "Terminating"
    await world.store.delete(VIRTUAL_DISK, "default", "copy")
    await world.gone(VIRTUAL_MACHINE_SNAPSHOT, "one")


async def test_a_machine_that_is_off_is_saved_with_its_disks_and_secret(world: World) -> None:
    await give_user_data(world)
    provisioning = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "seed"}}
    await world.give_disk()
    await world.make_machine(runPolicy="AlwaysOff", provisioning=provisioning)
    await world.phase("Stopped")
    await take(world, "one")
    found = await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
    status, uid = found["status"], found["metadata"]["uid"]
    assert status["consistent"] is True
    await world.told("VirtualMachineSnapshottingStarted", "VirtualMachineSnapshottingCompleted")
    assert status["virtualDiskSnapshotNames"] == [f"vm-{uid}"]
    kinds = sorted((one["kind"], one["name"]) for one in status["resources"])
    assert kinds == [("Secret", "seed"), ("VirtualDisk", "vm"), ("VirtualMachine", "vm")]
    disk = await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, f"vm-{uid}")
    assert disk["status"]["consistent"] is True
    secret = (await world.store.get(SECRET, "default", status["virtualMachineSnapshotSecretName"])).object()
    assert secret["type"] == "virtualmachine.virtualization.deckhouse.io/snapshot"
    saved = {key: orjson.loads(base64.b64decode(value)) for key, value in secret["data"].items()}
    assert set(saved) == {"vm", "provisioner"}
    assert saved["vm"]["spec"]["provisioning"] == provisioning
    assert "status" not in saved["vm"]
    assert "uid" not in saved["vm"]["metadata"]

    await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", f"vm-{uid}")
    held = await world.until(is_held, VIRTUAL_DISK_SNAPSHOT, f"vm-{uid}")
    told = find_condition(held, "VirtualDiskSnapshotReady") or {}
    assert (told["status"], told["reason"]) == ("True", "VirtualDiskSnapshotReady")
    assert held["status"]["phase"] == "Ready", "a machine may be made of it"
    await world.store.delete(VIRTUAL_MACHINE_SNAPSHOT, "default", "one")
    await world.gone(VIRTUAL_MACHINE_SNAPSHOT, "one")
    await world.gone(VIRTUAL_DISK_SNAPSHOT, f"vm-{uid}")
    assert await world._daemon._context.volumes.snapshots() == []
    assert await world.kept() == {}


async def test_snapshots_whose_pool_was_away_are_there_again(world: World) -> None:
    await world.give_disk()
    await world.make_machine(runPolicy="AlwaysOff")
    await world.phase("Stopped")
    await take(world, "one")
    found = await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
    disk = f"vm-{found['metadata']['uid']}"
    await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, disk)
    folder = world.state_dir / "volumes"
    away = folder.rename(folder.with_name("away"))
    folder.mkdir()
    world.look_at(VIRTUAL_DISK_SNAPSHOT, disk)
    lost = await world.phase("Failed", VIRTUAL_MACHINE_SNAPSHOT, "one")
    assert ready(lost)["reason"] == "VirtualDiskSnapshotLost"
    folder.rmdir()
    away.rename(folder)
    world.look_at(VIRTUAL_DISK_SNAPSHOT, disk)
    again = await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
    assert (ready(again)["status"], again["status"]["consistent"]) == ("True", True)
    one = await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, disk)
    assert one["status"]["consistent"] is True


async def test_no_secret_is_copied_that_is_for_something_else(world: World) -> None:
    await give_user_data(world)
    provisioning = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "seed"}}
    await world.give_disk()
    await world.make_machine(runPolicy="AlwaysOff", provisioning=provisioning)
    await world.phase("Stopped")
    await world.store.delete(SECRET, "default", "seed")
    body: Object = {
        "metadata": {"namespace": "default", "name": "seed"},
        "type": "Opaque",
        "data": {"key": "YQ=="},
    }
    await world.store.create(SECRET, "default", body)
    await take(world, "one")
    found = await world.phase("Failed", VIRTUAL_MACHINE_SNAPSHOT, "one")
    assert ready(found)["message"] == 'Secret "seed" is of no type for provisioning, and is not saved.'
    assert [one["metadata"]["name"] for one in await world.store.find_all(SECRET, "default")] == ["seed"]


async def test_a_disk_whose_snapshot_could_have_no_name_is_the_end_of_it(world: World) -> None:
    name = "d" * 253
    disk: Object = {"metadata": {"name": name}, "spec": {"persistentVolumeClaim": {"size": "1Mi"}}}
    await world.store.create(VIRTUAL_DISK, "default", disk)
    await world.make_machine(runPolicy="AlwaysOff", blockDeviceRefs=[{"kind": "VirtualDisk", "name": name}])
    await world.phase("Stopped")
    await take(world, "one")
    told = ready(await world.phase("Failed", VIRTUAL_MACHINE_SNAPSHOT, "one"))
    assert told["reason"] == "VirtualMachineSnapshotFailed"
    assert "no more than 253" in told["message"]


@pytest.mark.parametrize("what", ["machine", "disk", "secret"])
async def test_what_is_missing_is_the_end_of_it(world: World, what: str) -> None:
    provisioning = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "seed"}}
    if what != "machine":
        await give_user_data(world)
        await world.give_disk()
        await world.make_machine(runPolicy="AlwaysOff", provisioning=provisioning)
        await world.phase("Stopped")
        gone = SECRET if what == "secret" else VIRTUAL_DISK
        await world.store.delete(gone, "default", "seed" if what == "secret" else "vm")
        if what == "disk":
            await world.gone(VIRTUAL_DISK)
    await take(world, "one")
    found = await world.phase("Failed", VIRTUAL_MACHINE_SNAPSHOT, "one")
    told = {
        "machine": ("WaitingForTheVirtualMachine", 'VirtualMachine "vm" does not exist.'),
        "disk": ("BlockDevicesNotReady", 'VirtualDisk "vm" is absent, not Ready.'),
        "secret": ("VirtualMachineSnapshotFailed", 'The provisioning Secret "seed" does not exist.'),
    }[what]
    await world.told("VirtualMachineSnapshottingFailed")
    assert (ready(found)["reason"], ready(found)["message"].removesuffix(" Take another snapshot then.")) == told
    assert await world._daemon._context.volumes.snapshots() == []
