"""A whole daemon with a disk to read out, and a client on its socket."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from tests.unit.controllers.world import World, running

MIB = 1 << 20
SIZE = 48 * MIB
DISK = "virtualdisks/vm"
SUBRESOURCES = "http://h/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default"


class Exporting:
    """A daemon with a disk that holds something, and a client on its socket."""

    def __init__(self, world: World, client: aiohttp.ClientSession) -> None:
        self.world = world
        self.client = client

    async def disk(self, *, size: str = "48Mi") -> Path:
        """Fives at its begin, sevens at its end, and what was written and then discarded."""
        await self.world.give_disk(size=size)
        uid = (await self.world.store.get(VIRTUAL_DISK, "default", "vm")).uid
        path = self.world.state_dir / "volumes" / f"{uid}.qcow2"
        await asyncio.to_thread(
            write, path, "write -q -P 5 0 3M", "write -q -P 9 8M 1M", "write -q -z 8M 1M", "write -q -P 7 47M 1M"
        )
        return path

    def get(self, what: str = DISK, **kwargs: Any) -> Any:
        return self.client.get(
            f"{SUBRESOURCES}/{what.partition('?')[0]}/export?{what.partition('?')[2]}", **kwargs
        )

    async def read(self, what: str = DISK, **headers: str) -> tuple[int, bytes]:
        async with self.get(what, headers=headers) as answer:
            return answer.status, await answer.read()

    async def refusal(self, what: str = DISK, **headers: str) -> tuple[int, str]:
        async with self.get(what, headers=headers) as answer:
            return answer.status, (await answer.json())["message"]

    async def free(self) -> Object:
        """Nobody reads the disk any more, and nothing of that is left."""
        found = await self.world.until(lambda disk: in_use(disk) == "NotInUse", VIRTUAL_DISK, "vm")
        assert [entry for entry in os.listdir(self.world._settings.run_dir) if entry.startswith("x")] == []
        return found


def write(path: Path, *commands: str) -> None:
    subprocess.run(
        ["qemu-io", "-f", "qcow2", *(word for each in commands for word in ("-c", each)), path], check=True
    )


def in_use(disk: Object) -> str:
    found = find_condition(disk, "InUse")
    return "" if found is None else found["reason"]


async def address(lab: Exporting, what: str = DISK, **headers: str) -> str:
    asked = f"{what}&address=true" if "?" in what else f"{what}?address=true"
    async with lab.get(asked, headers=headers) as answer:
        assert answer.status == 200
        url: str = (await answer.json())["url"]
    assert url.startswith("https://")
    return f"http://h/export/{url.rpartition('/')[2]}"


EXPECTED = b"\5" * (3 * MIB) + bytes(44 * MIB) + b"\7" * MIB


@pytest.fixture
async def lab() -> AsyncIterator[Exporting]:
    async with running(registry={"url": ""}) as world:
        connector = aiohttp.UnixConnector(path=str(world._settings.socket_path))
        async with aiohttp.ClientSession(connector=connector) as client:
            yield Exporting(world, client)
