"""A disk that is moved to another StorageClass, in a whole daemon with a second kind of storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from hyperd.controllers.disk.operations import migrate
from hyperd.errors import Invalid, TemporaryError
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.progress import Report
from hyperd.resources.all import (
    RESOURCE_QUOTA,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import Object
from hyperd.storage import backends
from hyperd.storage.backends.directory.provisioner import DirectoryProvisioner
from hyperd.storage.interface import Volume
from hyperd.store.interface import PatchType
from tests.contract.volumes import guest, rawfiles
from tests.contract.volumes.test_daemon import CLASS
from tests.unit.controllers.test_images_of_objects import condition
from tests.unit.controllers.world import NAME, World, running

MIB = 1 << 20
Receive = rawfiles.RawProvisioner.receive


@pytest.fixture(autouse=True)
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", (*backends.BACKENDS, rawfiles.RawFiles))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        await made.store.create(STORAGE_CLASS, "", CLASS)
        yield made


def files_of(world: World) -> tuple[list[Path], list[Path]]:
    """Of the pool, and of the other storage."""
    pool = (path for path in (world.state_dir / "volumes").iterdir() if path.suffix == ".qcow2")
    return sorted(pool), sorted((world.state_dir / "raw").glob("*.raw"))


async def written(world: World, pattern: int) -> None:
    """A disk in the pool with something in it."""
    await world.give_disk()
    (path,), _ = files_of(world)
    await asyncio.to_thread(guest.fill, FileHandle(path, DiskFormat.QCOW2), pattern, 4096)


async def name(world: World, class_: str | None) -> None:
    body = {"spec": {"persistentVolumeClaim": {"storageClassName": class_}}}
    await world.store.patch(VIRTUAL_DISK, "default", "vm", PatchType.MERGE, body)


def is_in(class_: str, disk: Object) -> bool:
    status = disk["status"]
    return bool(status["phase"] == "Ready" and status.get("storageClassName") == class_)


async def moved(world: World, class_: str) -> Object:
    return await world.until(lambda disk: is_in(class_, disk), VIRTUAL_DISK, "vm")


async def waits(world: World, reason: str) -> str:
    """What the disk says that it waits for."""
    disk = await world.until(lambda disk: condition(disk, "Migrating").get("reason") == reason, VIRTUAL_DISK, "vm")
    return str(condition(disk, "Migrating")["message"])


class Held:
    """Copies into the other storage wait until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.failure: TemporaryError | None = None
        outer = self

        async def receive(
            self: rawfiles.RawProvisioner,
            uid: str,
            size: int,
            *,
            layers: Sequence[Handle],
            op_uid: str,
            report: Report,
        ) -> Volume:
            outer.begun.set()
            await outer.may_go_on.wait()
            if outer.failure is not None:
                raise outer.failure
            return await Receive(self, uid, size, layers=layers, op_uid=op_uid, report=report)

        monkeypatch.setattr(rawfiles.RawProvisioner, "receive", receive)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


async def test_a_disk_goes_there_and_back_with_all_that_it_holds(world: World) -> None:
    await written(world, 7)
    await name(world, "raw")
    disk = await moved(world, "raw")
    uid, status = disk["metadata"]["uid"], disk["status"]
    assert files_of(world) == ([], [world.state_dir / "raw" / f"{uid}.raw"])
    assert status["target"]["provisioner"] == rawfiles.NAME
    state = status["migrationState"]
    assert (state["result"], state["sourcePVC"]) == ("Succeeded", f"d8v-vd-{uid}")
    assert state["targetPVC"] == status["target"]["persistentVolumeClaimName"] != state["sourcePVC"]
    assert "operation" not in status
    assert condition(disk, "Migrating") == {}

    await world.make_machine()
    await world.phase("Running")
    assert (world.state_dir / "raw" / "attached" / uid).is_symlink(), "it runs with what it was moved to"
    await name(world, "local")
    assert "has the disk open" in await waits(world, "WaitForSourceVolumeRelease")
    assert (await world.phase("Ready", VIRTUAL_DISK))["status"]["storageClassName"] == "raw"
    await world.operate("Stop", "stop")
    await moved(world, "local")
    (path,), there = files_of(world)
    assert there == []
    assert guest.read(FileHandle(path, DiskFormat.QCOW2)) == b"\7" * 4096 + bytes(MIB - 4096)
    assert await world.kept() == {}


async def test_nobody_uses_a_disk_that_is_moved(world: World, held: Held) -> None:
    await written(world, 7)
    await name(world, "raw")
    await held.begun.wait()
    disk = await world.phase("Migrating", VIRTUAL_DISK)
    assert condition(disk, "Migrating")["status"] == "True"
    await world.make_machine()
    machine = await world.phase("Pending")
    await world.until(
        lambda vm: "is Migrating" in condition(vm, "BlockDevicesReady")["message"], VIRTUAL_MACHINE, "vm"
    )
    assert machine["metadata"]["name"] == "vm"
    with pytest.raises(Invalid, match='until that is done it may only be set back to "local"'):
        await name(world, "another")
    larger = {"spec": {"persistentVolumeClaim": {"size": "2Mi"}}}
    with pytest.raises(Invalid, match="while the disk is migrating"):
        await world.store.patch(VIRTUAL_DISK, "default", "vm", PatchType.MERGE, larger)
    held.may_go_on.set()
    await moved(world, "raw")
    await world.phase("Running")


async def test_what_names_the_first_class_again_ends_the_move(world: World, held: Held) -> None:
    await written(world, 7)
    await name(world, "raw")
    await held.begun.wait()
    await name(world, "local")
    disk = await moved(world, "local")
    state = disk["status"]["migrationState"]
    assert (state["result"], "taken back" in state["message"]) == ("Failed", True)
    (path,), there = files_of(world)
    assert there == []
    assert guest.read(FileHandle(path, DiskFormat.QCOW2))[:4096] == b"\7" * 4096
    assert "operation" not in disk["status"]


async def test_what_fails_is_told_and_tried_again_and_the_disk_can_be_used_meanwhile(
    world: World, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperd.controllers.retries.FIRST_SECONDS", 0.2)
    await written(world, 7)
    held.failure = TemporaryError("The other pool is full.")
    held.may_go_on.set()
    await name(world, "raw")
    assert await waits(world, "WaitForTargetReady") == "The other pool is full."
    disk = await world.until(
        lambda disk: (disk["status"].get("migrationState") or {}).get("result") == "Failed", VIRTUAL_DISK, "vm"
    )
    assert disk["status"]["phase"] == "Ready"
    held.failure = None
    assert (await moved(world, "raw"))["status"]["migrationState"]["result"] == "Succeeded"


@pytest.mark.parametrize("point", ["copy", "switch", "release"])
async def test_a_daemon_that_ends_before_a_step_goes_on_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    step = {"copy": migrate._Copy, "switch": migrate._Switch, "release": migrate.ReleaseStep}[point]
    arrived = asyncio.Event()

    async def never(self: object, report: Report) -> None:
        arrived.set()
        await asyncio.Event().wait()

    await written(world, 7)
    with monkeypatch.context() as patch:
        patch.setattr(step, "run", never)
        await name(world, "raw")
        await arrived.wait()
        pool, raw = files_of(world)
        assert (len(pool), len(raw)) == {"copy": (1, 0), "switch": (1, 1), "release": (1, 1)}[point]
        assert await world.kept() == {}, "a copy is the disk's own"
        await world.stop()
    await world.begin_anew()
    await moved(world, "raw")
    pool, (path,) = files_of(world)
    assert pool == []
    assert guest.read(FileHandle(path, DiskFormat.RAW))[:4096] == b"\7" * 4096


@pytest.mark.parametrize("step", [migrate._Switch, migrate.ReleaseStep])
async def test_a_disk_that_is_deleted_on_its_way_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, step: type
) -> None:
    arrived = asyncio.Event()

    async def never(self: object, report: Report) -> None:
        arrived.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(step, "run", never)
    await written(world, 7)
    await name(world, "raw")
    await arrived.wait()
    await world.store.delete(VIRTUAL_DISK, "default", "vm")
    await world.gone(VIRTUAL_DISK)
    assert files_of(world) == ([], [])


async def test_a_class_that_goes_while_it_is_copied_ends_the_move(world: World, held: Held) -> None:
    await written(world, 7)
    held.failure = TemporaryError("It went wrong.")
    await name(world, "raw")
    await held.begun.wait()
    await world.store.delete(STORAGE_CLASS, "", "raw")
    held.may_go_on.set()
    assert await waits(world, "StorageClassNotFound") == 'StorageClass "raw" does not exist.'
    disk = await moved(world, "local")
    assert "operation" not in disk["status"]
    await name(world, "local")
    await world.until(lambda disk: condition(disk, "Migrating") == {}, VIRTUAL_DISK, "vm")


async def test_snapshots_stay_and_disks_are_made_of_them(world: World) -> None:
    await written(world, 7)
    body: Object = {
        "metadata": {"namespace": "default", "name": "s"},
        "spec": {"virtualDiskName": "vm", "requiredConsistency": True},
    }
    await world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", body)
    await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "s")
    await name(world, "raw")
    await moved(world, "raw")
    source = {"dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualDiskSnapshot", "name": "s"}}}
    copy: Object = {"metadata": {"namespace": "default", "name": "copy"}, "spec": source}
    await world.store.create(VIRTUAL_DISK, "default", copy)
    await world.phase("Ready", VIRTUAL_DISK, "copy")
    await name(world, "local")
    await moved(world, "local")
    await world.store.delete(VIRTUAL_DISK, "default", "copy")
    await world.gone(VIRTUAL_DISK, "copy")
    await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", "s")
    await world.gone(VIRTUAL_DISK_SNAPSHOT, "s")
    pool, raw = files_of(world)
    assert (len(pool), raw) == (1, [])
    assert guest.read(FileHandle(pool[0], DiskFormat.QCOW2))[:4096] == b"\7" * 4096


async def test_classes_of_one_provisioner_need_no_copy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(DirectoryProvisioner, "receive")
    await written(world, 7)
    same = {**CLASS, "metadata": {"name": "same"}, "provisioner": DirectoryProvisioner.name}
    await world.store.create(STORAGE_CLASS, "", same)
    before = files_of(world)
    await name(world, "same")
    disk = await moved(world, "same")
    assert files_of(world) == before
    assert disk["status"]["target"]["persistentVolumeClaimName"] == f"d8v-vd-{disk['metadata']['uid']}"


async def test_a_quota_counts_both_volumes_until_one_goes(world: World, held: Held) -> None:
    await written(world, 7)
    name_ = "raw.storageclass.storage.k8s.io/requests.storage"
    quota: Object = {"metadata": {"name": "q"}, "spec": {"hard": {name_: "512Ki", "requests.storage": "2Mi"}}}
    await world.store.create(RESOURCE_QUOTA, "default", quota)
    await name(world, "raw")
    told = await waits(world, "WaitForTargetReady")
    assert f"exceeded quota: q, requested: {name_}=1Mi, used: {name_}=0, limited: {name_}=512Ki" in told
    assert (await world.phase("Ready", VIRTUAL_DISK))["status"].get("migrationState") is None
    body = {"spec": {"hard": {name_: "1Mi"}}}
    await world.store.patch(RESOURCE_QUOTA, "default", "q", PatchType.MERGE, body)
    await world.until(
        lambda quota: (quota.get("status") or {}).get("used", {}).get("requests.storage") == "2Mi",
        RESOURCE_QUOTA,
        "q",
    )
    held.may_go_on.set()
    await moved(world, "raw")
    await world.until(lambda quota: quota["status"]["used"]["requests.storage"] == "1Mi", RESOURCE_QUOTA, "q")


async def test_what_is_left_in_the_other_storage_is_neither_taken_for_the_disk_nor_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperd.controllers.retries.FIRST_SECONDS", 0.2)
    await written(world, 7)
    uid = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
    left = world.state_dir / "raw" / f"{uid}.raw"
    left.write_bytes(b"\3" * MIB)
    await name(world, "raw")
    assert "which this move has not made" in await waits(world, "WaitForTargetReady")
    await world.phase("Ready", VIRTUAL_DISK)
    assert left.read_bytes() == b"\3" * MIB
    left.unlink()
    await moved(world, "raw")
    assert left.read_bytes() == b"\7" * 4096 + bytes(MIB - 4096)


async def test_what_is_exported_is_moved_after_that(world: World) -> None:
    await written(world, 7)
    uid = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
    with world._daemon._context.reservations.held(NAME, uid):
        await world.phase("Exporting", VIRTUAL_DISK)
        await name(world, "raw")
        assert await waits(world, "WaitForSourceVolumeRelease") == "The disk is moved once nobody exports it."
    await moved(world, "raw")
