"""A daemon with one backend more: what it takes is the backend and its line in the list."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hyperd.imagefile.qemuimg import QemuImg
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.storage import backends, poolmark
from hyperd.store.interface import PatchType
from tests.contract.volumes import rawfiles
from tests.unit.controllers.world import running

CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "raw"},
    "provisioner": rawfiles.NAME,
    "allowVolumeExpansion": True,
}


def there(folder: Path) -> dict[str, int]:
    """Size of each file, and where links are, of the second backend."""
    paths = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    return {str(path.relative_to(folder)): path.stat().st_size for path in paths}


async def test_a_disk_lives_where_its_class_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", (*backends.BACKENDS, rawfiles.RawFiles))
    async with running() as world:
        raw, files = world.state_dir / "raw", world.state_dir / "volumes"
        await world.store.create(STORAGE_CLASS, "", CLASS)
        await world.wait_for_disk()
        await world.give_disk(storageClassName="raw")
        await world.phase("Running")
        uid = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
        assert there(raw) == {f"{uid}.raw": 1 << 20, f"attached/{uid}": 1 << 20}
        assert os.listdir(files) == [poolmark.FILE]

        await world.operate("Stop", "stop")
        await world.phase("Stopped")
        assert there(raw) == {f"{uid}.raw": 1 << 20}, "a machine that is off has nothing attached"
        larger = {"spec": {"persistentVolumeClaim": {"size": "2Mi"}}}
        await world.store.patch(VIRTUAL_DISK, "default", "vm", PatchType.MERGE, larger)
        await world.until(lambda disk: disk["status"].get("capacity") == "2Mi", VIRTUAL_DISK, "vm")
        assert there(raw) == {f"{uid}.raw": 2 << 20}

        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.gone()
        await world.store.delete(VIRTUAL_DISK, "default", "vm")
        await world.gone(VIRTUAL_DISK)
        assert there(raw) == {}

        await rawfiles.RawProvisioner(raw, QemuImg(world.settings)).create_blank("nobodys", 1 << 20)
        assert await world.kept() == {"nobodys": ("volume",)}
        assert there(raw) == {"nobodys.raw": 1 << 20}, "what has no owner stays where it is"


async def test_a_class_of_a_provisioner_that_is_not_listed_makes_no_volume() -> None:
    async with running() as world:
        await world.store.create(STORAGE_CLASS, "", CLASS)
        await world.store.create(
            VIRTUAL_DISK,
            "default",
            {
                "metadata": {"namespace": "default", "name": "vm"},
                "spec": {"persistentVolumeClaim": {"size": "1Mi", "storageClassName": "raw"}},
            },
        )
        disk = await world.phase("Pending", VIRTUAL_DISK)
        message = next(c["message"] for c in disk["status"]["conditions"] if c["type"] == "StorageClassReady")
        assert f'"{rawfiles.NAME}", which this version of hyperd makes no volumes with' in message
        assert '"hyperd.local/directory"' in message
