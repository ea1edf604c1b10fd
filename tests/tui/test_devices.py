"""Disks that grow, come and go from the terminal interface, in a whole daemon with a machine that is off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hyperd.client.home import local
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
from tests.tui.conftest import Ui, looking_at
from tests.unit.controllers.world import World, running
from tui.screens.confirm import DELIBERATE_SECONDS


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        await made.give_disk()
        await made.make_machine(runPolicy="Manual")
        await made.phase("Stopped")
        spec = {"persistentVolumeClaim": {"size": "1Mi"}}
        disk = {"metadata": {"namespace": "default", "name": "data"}, "spec": spec}
        await made.store.create(VIRTUAL_DISK, "default", disk)
        await made.phase("Ready", VIRTUAL_DISK, "data")
        yield made


@pytest.fixture
async def ui(world: World) -> AsyncIterator[Ui]:
    async with looking_at(local(str(world._settings.socket_path)), size=(120, 40)) as shown:
        yield shown


async def attached(world: World) -> list[str]:
    listed = await world.store.list(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, "default")
    return [item.object()["spec"]["blockDeviceRef"]["name"] for item in listed.items]


async def test_a_disk_grows_and_what_is_no_size_is_said_in_the_form(ui: Ui, world: World) -> None:
    await ui.press("2")
    await ui.row("data")
    await ui.press("S")
    await ui.shows("Size of data (default)", "It has 1Mi")
    await ui.press(*["backspace"] * 3)
    await ui.type("1Ki")
    await ui.press("enter")
    await ui.shows("disks only grow")
    await ui.press(*["backspace"] * 3)
    await ui.type("+2Mi")
    await ui.press("enter")
    await ui.shows("data has 3Mi")
    assert (await world.phase("Ready", VIRTUAL_DISK, "data"))["status"]["capacity"] == "3Mi"


async def test_a_disk_comes_to_a_machine_and_goes_after_a_question(ui: Ui, world: World) -> None:
    await ui.row("vm")
    await ui.press("A")
    await ui.shows("Attach to vm (default)", "vd/data")
    await ui.type("nonsense/x")
    await ui.press("enter")
    await ui.shows("write vd/NAME")
    await ui.type(":plug vm vd/data")
    await ui.press("enter")
    await ui.shows("vm is Stopped, and has data when it starts")
    assert await attached(world) == ["data"]
    await ui.press("2")
    await ui.row("data")
    await ui.press("D")
    await ui.shows("Detach from data (default)?", "vm/vm: what the guest has not written")
    await asyncio.sleep(DELIBERATE_SECONDS)
    await ui.press("y")
    await ui.shows("vm/vm is detached from data")
    assert await attached(world) == []
    await ui.press("D")
    await ui.shows("nothing is attached to data")
