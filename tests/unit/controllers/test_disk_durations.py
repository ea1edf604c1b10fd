"""How long each part of a disk's creation took, in its status."""

from __future__ import annotations

from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK
from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.schema.kind import Object
from tests.unit.controllers.test_pulls import RAW
from tests.unit.controllers.world import running
from tests.unit.registry.world import web_server


async def test_a_disk_that_waits_for_its_machine_and_is_imported_then_tells_of_both() -> None:
    async with web_server() as source:
        source.routes["/disk.img"] = RAW
        allowed = {"allowed": [f"127.0.0.1/32:{source.port}"]}
        async with running(registry={"url": ""}, imports=allowed) as world:
            late: Object = {
                "metadata": {"name": "late"},
                "provisioner": PROVISIONER,
                "volumeBindingMode": "WaitForFirstConsumer",
            }
            await world.store.create(STORAGE_CLASS, "", late)
            body: Object = {
                "metadata": {"namespace": "default", "name": "vm"},
                "spec": {
                    "dataSource": {"type": "HTTP", "http": {"url": source.url("/disk.img")}},
                    "persistentVolumeClaim": {"storageClassName": "late"},
                },
            }
            await world.store.create(VIRTUAL_DISK, "default", body)
            disk = await world.phase("WaitForFirstConsumer", VIRTUAL_DISK)
            assert "stats" not in disk["status"]
            await world.make_machine()
            disk = await world.phase("Ready", VIRTUAL_DISK)
            assert set(disk["status"]["stats"]["creationDuration"]) == {
                "waitingForDependencies",
                "waitingForFirstConsumer",
                "dvcrProvisioning",
                "totalProvisioning",
            }
