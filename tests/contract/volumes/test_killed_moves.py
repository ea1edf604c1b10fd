"""``kill -9`` at each place on a disk's way to another StorageClass: the next daemon ends where it was to go."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from hyperd.crashpoints import CrashPoint
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.resources.values.names import GROUP
from tests.contract.api.test_kills import Daemon
from tests.contract.volumes import guest
from tests.contract.volumes.test_daemon import CLASS
from tests.unit.api.conftest import folder

__all__ = ["folder"]

DISKS = f"/apis/{GROUP}/v1alpha2/namespaces/default/virtualdisks"
DISK = f"{DISKS}/d"
POINTS = (
    CrashPoint.DISK_BEFORE_RENAME,
    CrashPoint.DURABLE_AFTER_STEP,
    CrashPoint.MOVE_AFTER_COPY,
    CrashPoint.MOVE_AFTER_SWITCH,
    CrashPoint.DURABLE_BEFORE_END,
)
WITH_BOTH = "tests.contract.volumes.second"


async def name(daemon: Daemon, class_: str) -> None:
    body = {"spec": {"persistentVolumeClaim": {"storageClassName": class_}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    async with daemon.client.patch(DISK, json=body, headers=headers) as response:
        assert response.status == 200, await response.text()


async def there(daemon: Daemon, class_: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            _, disk = await daemon.call("GET", DISK)
            status = disk.get("status") or {}
            if (status.get("phase"), status.get("storageClassName")) == ("Ready", class_):
                return dict(disk)
            await asyncio.sleep(0.05)


async def test_a_move_goes_on_wherever_the_daemon_was_killed(folder: Path) -> None:
    daemon = Daemon(folder)
    pool, raw = folder / "s" / "volumes", folder / "s" / "raw"
    claim = {"persistentVolumeClaim": {"size": "1Mi", "storageClassName": "raw"}}
    try:
        await daemon.start(WITH_BOTH)
        status, answer = await daemon.call("POST", "/apis/storage.k8s.io/v1/storageclasses", CLASS)
        assert status == 201, answer
        status, answer = await daemon.call("POST", DISKS, {"metadata": {"name": "d"}, "spec": claim})
        assert status == 201, answer
        uid = (await there(daemon, "raw"))["metadata"]["uid"]
        await asyncio.to_thread(guest.fill, FileHandle(raw / f"{uid}.raw", DiskFormat.RAW), 7, 4096)
        for point in POINTS:
            await daemon.kill()
            await daemon.start(WITH_BOTH, HYPERD_CRASH_AT=point)
            await name(daemon, "local")
            assert await daemon.died() == -signal.SIGKILL
            await daemon.start(WITH_BOTH)
            disk = await there(daemon, "local")
            assert disk["status"]["migrationState"]["result"] == "Succeeded", point
            assert "operation" not in disk["status"]
            (path,) = (path for path in pool.iterdir() if path.suffix == ".qcow2")
            assert sorted(raw.glob("*.raw")) == [], point
            content = await asyncio.to_thread(guest.read, FileHandle(path, DiskFormat.QCOW2))
            assert content == b"\7" * 4096 + bytes((1 << 20) - 4096), point
            await name(daemon, "raw")
            await there(daemon, "raw")
            assert [path.name for path in pool.iterdir() if path.suffix == ".qcow2"] == [], point
    finally:
        await daemon.close()
