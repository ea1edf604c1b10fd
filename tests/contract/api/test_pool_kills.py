"""``kill -9`` at each place on a pool's way to other machines: none is made twice, and none is left over."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from hyperd.crashpoints import CrashPoint
from hyperd.resources.values.names import GROUP, SUBRESOURCE_GROUP
from tests.contract.api.test_kills import Daemon
from tests.unit.api.conftest import folder

__all__ = ["folder"]

HERE = f"/apis/{GROUP}/v1alpha2/namespaces/default"
WITH = f"/apis/{SUBRESOURCE_GROUP}/v1alpha2/namespaces/default/virtualmachinepools/web/scaledownwith"
POOL = {
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "scaleDownPolicy": "NewestFirst",
        "virtualDiskTemplates": [
            {"name": "root", "spec": {"persistentVolumeClaim": {"size": "1Mi"}}},
            {
                "name": "data",
                "reclaim": {"onScaleDown": "Retain"},
                "spec": {"persistentVolumeClaim": {"size": "1Mi"}},
            },
        ],
        "virtualMachineTemplate": {
            "spec": {
                "virtualMachineClassName": "generic",
                "liveMigrationPolicy": "PreferSafe",
                "cpu": {"cores": 1},
                "memory": {"size": "128Mi"},
                "terminationGracePeriodSeconds": 0,
                "blockDeviceRefs": [
                    {"kind": "VirtualDisk", "name": "root"},
                    {"kind": "VirtualDisk", "name": "data"},
                ],
            }
        },
    },
}


async def until(daemon: Daemon, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            _, pool = await daemon.call("GET", f"{HERE}/virtualmachinepools/web")
            if holds(pool.get("status") or {}):
                return dict(pool)
            await asyncio.sleep(0.05)


async def names(daemon: Daemon, plural: str) -> list[str]:
    _, listed = await daemon.call("GET", f"{HERE}/{plural}")
    return [one["metadata"]["name"] for one in listed["items"]]


async def there(daemon: Daemon, number: int, free: int = 0) -> list[str]:
    """Names of the machines, once so many run and so many disks are free."""

    def holds(told: dict[str, Any]) -> bool:
        numbers = (told.get("replicas"), told.get("readyReplicas"), len(told.get("freeDisks", ())))
        return numbers == (number, number, free) and "creating" not in told

    await until(daemon, holds)
    machines = await names(daemon, "virtualmachines")
    assert len(machines) == number
    async with asyncio.timeout(60):  # a disk that goes with its machine goes after it
        while len(await names(daemon, "virtualdisks")) != 2 * number + free:
            await asyncio.sleep(0.05)
    return machines


async def test_a_pool_has_its_machines_wherever_the_daemon_was_killed(folder: Path) -> None:
    daemon = Daemon(folder)
    try:
        await daemon.start(HYPERD_CRASH_AT=CrashPoint.POOL_AFTER_INTENT)
        status, answer = await daemon.call("POST", f"{HERE}/virtualmachinepools", POOL)
        assert status == 201, answer
        assert await daemon.died() == -signal.SIGKILL
        with contextlib.suppress(AssertionError):  # it may have died before it answered
            await daemon.start(HYPERD_CRASH_AT=CrashPoint.POOL_AFTER_MACHINE)
        assert await daemon.died() == -signal.SIGKILL
        await daemon.start(HYPERD_CRASH_AT=CrashPoint.POOL_AFTER_LOWERING)
        machines = await there(daemon, 2)

        # Of two of the same second the later name is taken for the newer one, which would go if nobody were named.
        stays, goes = sorted(machines, reverse=True)
        with contextlib.suppress(aiohttp.ClientError):
            await daemon.call("POST", WITH, {"targets": [goes]})
        assert await daemon.died() == -signal.SIGKILL
        await daemon.start()
        assert await there(daemon, 1, free=1) == [stays]
        await daemon.call("DELETE", f"{HERE}/virtualmachinepools/web")
        async with asyncio.timeout(60):
            while await names(daemon, "virtualmachines") or await names(daemon, "virtualdisks"):
                await asyncio.sleep(0.05)
    finally:
        await daemon.close()
