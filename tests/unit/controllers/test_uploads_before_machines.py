"""Disks that get their volume with their first machine, whose content is sent before there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK
from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from tests.unit.controllers.test_provisioning_as_watched import watched
from tests.unit.controllers.uploading import WAITS, Uploading, uploading, why
from tests.unit.registry.world import qcow2_bytes

_AWAITS = "WaitForFirstConsumer"


@pytest.fixture
async def up() -> AsyncIterator[Uploading]:
    async with uploading() as found:
        late: Object = {
            "metadata": {"name": "late"},
            "provisioner": PROVISIONER,
            "volumeBindingMode": _AWAITS,
        }
        await found.world.store.create(STORAGE_CLASS, "", late)
        yield found


async def sent(up: Uploading, folder: Path) -> Object:
    """The disk ``vm`` of the class, after its upload."""
    body: Object = {
        "metadata": {"name": "vm"},
        "spec": {"dataSource": {"type": "Upload"}, "persistentVolumeClaim": {"storageClassName": "late"}},
    }
    await up.world.store.create(VIRTUAL_DISK, "default", body)
    waits = await up.world.phase(WAITS, VIRTUAL_DISK)
    status, text = await up.put(waits, await qcow2_bytes(folder))
    assert status == 200, text
    disk = await up.world.phase(_AWAITS, VIRTUAL_DISK)
    assert why(disk) == ("WaitingForFirstConsumer", "The volume is made once a virtual machine uses the disk.")
    assert disk["status"]["progress"] == "50.0%"
    assert "imageUploadURLs" not in disk["status"]
    assert (await up.put(waits, b"again"))[0] == 404
    return disk


async def test_the_upload_waits_in_the_registry_for_the_machine(up: Uploading, tmp_path: Path) -> None:
    async with watched(up.world, VIRTUAL_DISK, "vm") as told:
        disk = await sent(up, tmp_path)
        assert await up.world._daemon._context.volumes.find(disk["metadata"]["uid"]) is None
        await up.world.make_machine()
    assert told.faults() == []
    durations = told.seen[-1]["status"]["stats"]["creationDuration"]
    assert {"waitingForFirstConsumer", "dvcrProvisioning", "totalProvisioning"} <= set(durations)
    assert "retry" not in told.seen[-1]["status"]


async def test_the_registrys_collection_keeps_what_waits_for_a_machine(up: Uploading, tmp_path: Path) -> None:
    await sent(up, tmp_path)
    await up.world.collect()
    await up.world.make_machine()
    assert (await up.world.phase("Ready", VIRTUAL_DISK))["status"]["progress"] == "100%"


async def test_a_daemon_that_starts_again_goes_on_with_what_was_sent(up: Uploading, tmp_path: Path) -> None:
    await sent(up, tmp_path)
    await up.world.restart()
    disk = await up.world.phase(_AWAITS, VIRTUAL_DISK)
    assert find_condition(disk, "StorageClassReady") is not None
    await up.world.make_machine()
    assert (await up.world.phase("Ready", VIRTUAL_DISK))["status"]["progress"] == "100%"
