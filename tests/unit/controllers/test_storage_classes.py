"""Which StorageClass a disk is of, by the settings."""

from __future__ import annotations

from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK
from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.schema.kind import Object
from tests.unit.controllers.world import World, running


async def a_class(world: World, name: str) -> None:
    body: Object = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": PROVISIONER,
    }
    await world.store.create(STORAGE_CLASS, "", body)


async def test_a_disk_that_names_no_class_gets_that_of_the_settings() -> None:
    async with running(virtual_disks={"default_storage_class": "mine"}) as world:
        await a_class(world, "mine")
        await world.give_disk()
        disk = (await world.store.get(VIRTUAL_DISK, "default", "vm")).object()
        assert disk["status"]["storageClassName"] == "mine"


async def test_a_default_that_is_not_allowed_makes_no_volume() -> None:
    async with running(virtual_disks={"allowed_storage_classes": ["mine"]}) as world:
        body: Object = {
            "metadata": {"namespace": "default", "name": "vm"},
            "spec": {"persistentVolumeClaim": {"size": "1Mi"}},
        }
        await world.store.create(VIRTUAL_DISK, "default", body)
        disk = await world.phase("Pending", VIRTUAL_DISK)
        message = next(c["message"] for c in disk["status"]["conditions"] if c["type"] == "StorageClassReady")
        assert message == 'StorageClass "local" is not allowed for disks here; use mine.'
