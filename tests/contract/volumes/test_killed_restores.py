"""``kill -9`` at each place of a machine's way back to its snapshot: the next daemon brings it there."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from hyperd.crashpoints import CrashPoint
from hyperd.imagefile.handle import FileHandle
from hyperd.resources.values.names import GROUP
from hyperd.storage.backends.directory.folder import Folder
from tests.contract.api.test_kills import Daemon
from tests.contract.volumes import guest
from tests.unit.api.conftest import folder

__all__ = ["folder"]

OURS = f"/apis/{GROUP}/v1alpha2/namespaces/default"
DISK = f"{OURS}/virtualdisks/d"
POINTS = (
    CrashPoint.DURABLE_BEFORE_STEP,
    CrashPoint.DISK_AFTER_FILE,
    CrashPoint.DURABLE_BEFORE_END,
)
MACHINE = {
    "metadata": {"name": "m"},
    "spec": {
        "virtualMachineClassName": "generic",
        "runPolicy": "AlwaysOff",
        "cpu": {"cores": 1},
        "memory": {"size": "128Mi"},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "d"}],
    },
}


async def make(daemon: Daemon, plural: str, body: dict[str, Any]) -> None:
    status, answer = await daemon.call("POST", f"{OURS}/{plural}", body)
    assert status == 201, answer


async def phase(daemon: Daemon, path: str, *wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            _, found = await daemon.call("GET", path)
            if (found.get("status") or {}).get("phase") in wanted:
                return dict(found)
            await asyncio.sleep(0.05)


async def top(daemon: Daemon, pool: Path) -> FileHandle:
    """What the disk that there is now is written to."""
    uid = (await phase(daemon, DISK, "Ready"))["metadata"]["uid"]
    found = await asyncio.to_thread(Folder(pool).top, uid)
    assert found is not None
    return found.handle


async def test_a_restore_goes_on_wherever_the_daemon_was_killed(folder: Path) -> None:
    daemon, pool = Daemon(folder), folder / "s" / "volumes"
    try:
        await daemon.start()
        await make(
            daemon, "virtualdisks", {"metadata": {"name": "d"}, "spec": {"persistentVolumeClaim": {"size": "1Mi"}}}
        )
        await asyncio.to_thread(guest.fill, await top(daemon, pool), 1, 4096)
        await make(daemon, "virtualmachines", MACHINE)
        await phase(daemon, f"{OURS}/virtualmachines/m", "Stopped")
        await make(
            daemon, "virtualmachinesnapshots", {"metadata": {"name": "s"}, "spec": {"virtualMachineName": "m"}}
        )
        await phase(daemon, f"{OURS}/virtualmachinesnapshots/s", "Ready")
        for number, point in enumerate(POINTS):
            await asyncio.to_thread(guest.fill, await top(daemon, pool), 2, 4096)
            await daemon.kill()
            await daemon.start(HYPERD_CRASH_AT=point)
            restore = {"mode": "Strict", "virtualMachineSnapshotName": "s"}
            spec = {"type": "Restore", "virtualMachineName": "m", "restore": restore}
            await make(daemon, "virtualmachineoperations", {"metadata": {"name": f"r{number}"}, "spec": spec})
            assert await daemon.died() == -signal.SIGKILL, point
            await daemon.start()
            op = await phase(daemon, f"{OURS}/virtualmachineoperations/r{number}", "Completed", "Failed")
            assert op["status"]["phase"] == "Completed", (point, op["status"])
            content = await asyncio.to_thread(guest.read, await top(daemon, pool))
            assert content == b"\1" * 4096 + bytes((1 << 20) - 4096), point
            assert [path.name for path in pool.iterdir() if path.name.endswith(".new")] == [], point
        assert len(list(pool.glob("*.qcow2"))) == 2, "what the snapshot holds, and the disk"
    finally:
        await daemon.close()
