"""A real daemon is killed again and again while clients write over its socket: what it acknowledged stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.unit.api.conftest import config_map, folder

__all__ = ["folder"]

MAPS = "/api/v1/namespaces/default/configmaps"
ROUNDS = 4
CLIENTS = 6


class Daemon:
    """A daemon process with folders of its own, over libvirt's test driver."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        connector = aiohttp.UnixConnector(path=str(folder / "r" / "hyperd.sock"))
        self.client = aiohttp.ClientSession("http://h", connector=connector)

    async def start(self, module: str = "tests.testdriver", **environment: str) -> None:
        settings = {
            "instance": "kills", "node_name": "node", "config_dir": self._folder,
            "state_dir": self._folder / "s", "run_dir": self._folder / "r", "log_dir": self._folder / "l",
            "api.port": 0, "hypervisor.uri": "test:///default", "registry.url": "http://127.0.0.1:9",
        }  # fmt: skip
        arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, *arguments,
                stdout=log, stderr=log, env={**os.environ, **environment},
            )  # fmt: skip
        async with asyncio.timeout(60):
            while not await self._answers():
                assert self._process.returncode is None, (self._folder / "log").read_text()[-3000:]
                await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with self.client.get("/readyz") as response:
                return response.status == 200
        return False

    async def died(self) -> int:
        """What it ended by, which is waited for."""
        assert self._process is not None
        return await self._process.wait()

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    async def close(self) -> None:
        await self.client.close()
        with contextlib.suppress(ProcessLookupError):
            await self.kill()

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.client.request(method, path, json=body) as response:
            return response.status, await response.json(content_type=None)


@dataclass
class Writer:
    """One client: what each of its objects must hold, and what the request on its way would make of it."""

    number: int
    held: dict[str, str | None] = field(default_factory=dict)
    asked: dict[str, str | None] = field(default_factory=dict)
    highest: int = 0
    serial: int = 0

    async def write(self, daemon: Daemon) -> None:
        """Create, replace and delete until the daemon is gone."""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            while True:
                self.serial += 1
                name = f"w{self.number}-{self.serial}"
                await self._do(daemon, "POST", MAPS, name, "0")
                await self._do(daemon, "PUT", f"{MAPS}/{name}", name, "1")
                if self.serial % 3 == 0:
                    await self._do(daemon, "DELETE", f"{MAPS}/{name}", name, None)

    async def _do(self, daemon: Daemon, method: str, path: str, name: str, value: str | None) -> None:
        self.asked[name] = value
        body = None if value is None else config_map(name, value=value)
        status, answer = await daemon.call(method, path, body)
        assert status in (200, 201), answer
        self.held[name] = self.asked.pop(name)
        if value is not None:
            version = int(answer["metadata"]["resourceVersion"])
            assert version > self.highest
            self.highest = version

    def check(self, found: dict[str, str]) -> None:
        """After a restart; what was asked for and not answered may have happened or not."""
        for name in self.held.keys() | self.asked.keys():
            allowed = {self.held.get(name)} | ({self.asked[name]} if name in self.asked else set())
            assert found.get(name) in allowed, f"{name} is {found.get(name)}, not one of {allowed}"
            self.held[name] = found.get(name)
        self.asked.clear()


class Follower:
    """Watches, and goes on after each restart from the last version it saw. It never lists again."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.found: dict[str, str] = {}

    async def follow(self, daemon: Daemon, *, until: str = "") -> None:
        """Until the daemon is gone, or ``until`` was seen."""
        path = f"{MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={self.version}"
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with daemon.client.get(path, timeout=aiohttp.ClientTimeout(total=60)) as response:
                async for line in response.content:
                    event = orjson.loads(line)
                    assert event["type"] != "ERROR", event
                    self._take(event["type"], event["object"])
                    if event["object"]["metadata"].get("name") == until:
                        return

    def _take(self, type_: str, obj: Any) -> None:
        meta = obj["metadata"]
        assert int(meta["resourceVersion"]) > int(self.version)
        self.version = meta["resourceVersion"]
        if type_ == "DELETED":
            del self.found[meta["name"]]
        elif type_ != "BOOKMARK":
            assert (type_ == "ADDED") == (meta["name"] not in self.found)
            self.found[meta["name"]] = obj["data"]["value"]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(folder)
    try:
        await daemon.start()
        yield daemon
    finally:
        await daemon.close()


async def listed(daemon: Daemon) -> tuple[dict[str, str], str]:
    status, answer = await daemon.call("GET", MAPS)
    assert status == 200
    found = {item["metadata"]["name"]: item["data"]["value"] for item in answer["items"]}
    return found, answer["metadata"]["resourceVersion"]


async def test_every_acknowledged_write_is_there_after_each_kill(folder: Path) -> None:
    chance = random.Random(3)
    writers = [Writer(number) for number in range(CLIENTS)]
    async with running(folder) as daemon:
        follower = Follower((await listed(daemon))[1])
        for _ in range(ROUNDS):
            clients = [asyncio.create_task(writer.write(daemon)) for writer in writers]
            watching = asyncio.create_task(follower.follow(daemon))
            await asyncio.sleep(chance.uniform(0.3, 1.0))
            await daemon.kill()
            async with asyncio.timeout(20):
                await asyncio.gather(*clients, watching)
            await daemon.start()
            found, version = await listed(daemon)
            for writer in writers:
                writer.check(found)
                assert int(version) >= writer.highest
        await daemon.call("POST", MAPS, config_map("end", value="end"))
        async with asyncio.timeout(20):
            await follower.follow(daemon, until="end")
        found, _ = await listed(daemon)
        assert follower.found == found
    assert sum(len(writer.held) for writer in writers) > 50
