"""Snapshots, restores and copies from the terminal interface, of a machine that is off, in a whole daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hyperd.client.home import local
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_OPERATION,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from tests.tui.conftest import Ui, looking_at
from tests.unit.cli.test_snapshots import change_secret, have_user_data
from tests.unit.controllers.test_restore import first, write
from tests.unit.controllers.world import World, running
from tui.screens.confirm import DELIBERATE_SECONDS


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        await made.give_disk()
        await write(made, 1)
        await made.make_machine(runPolicy="Manual")
        await made.phase("Stopped")
        yield made


@pytest.fixture
async def ui(world: World) -> AsyncIterator[Ui]:
    async with looking_at(local(str(world._settings.socket_path)), size=(120, 40)) as shown:
        yield shown


async def command(ui: Ui, text: str) -> None:
    await ui.type(f":{text}")
    await ui.press("enter")


async def named(ui: Ui, name: str, *keys: str) -> None:
    """A snapshot of what is under the cursor; ``keys`` are pressed in its form."""
    await ui.press("T")
    await ui.shows("Snapshot of vm (default)", "guest held")
    await ui.press(*["backspace"] * len("vm-20261129-192551"))
    await ui.type(name)
    await ui.press(*keys, "enter")


async def test_a_machine_is_taken_and_put_back_after_its_trial_was_seen(ui: Ui, world: World) -> None:
    await ui.row("vm")
    await named(ui, "one", "down", "down", "right")
    await ui.shows("snapshot one of vm is taken")
    taken = await world.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
    assert taken["spec"]["keepIPAddress"] == "Never"
    await write(world, 2)
    await ui.press("R")
    await ui.shows("Put vm (default) back", "Newest first: one")
    await ui.press("enter")
    await ui.shows(
        "Put vm (default) back to one?", "written to the disk vm", "VirtualDisk/vm", "valid for restore"
    )
    await ui.press("y")
    assert await first(world) == 2, "a key that came with the question is no answer"
    await ui.press("escape")
    await ui.until(lambda: "Put vm" not in ui.text)
    await command(ui, "restore vm one")
    await ui.shows("Put vm (default) back to one?")
    await asyncio.sleep(DELIBERATE_SECONDS)
    await ui.press("y")
    await ui.shows("vm is as it was in one")
    assert await first(world) == 1


async def test_what_the_trial_finds_wrong_leaves_nothing_to_say_yes_to(ui: Ui, world: World) -> None:
    await have_user_data(world)
    await ui.row("vm")
    await named(ui, "one")
    await ui.shows("snapshot one of vm is taken")
    await change_secret(world)
    await ui.press("8")
    await ui.row("one")
    await ui.press("R")
    await ui.shows("vm (default) cannot be put back to one", "exists with other content", "Esc closes")
    await asyncio.sleep(DELIBERATE_SECONDS)
    await ui.press("y")
    await ui.until(lambda: "cannot be put back" not in ui.text)
    made = (await world.store.list(VIRTUAL_MACHINE_OPERATION, "default")).items
    assert [item.object()["spec"]["restore"]["mode"] for item in made] == ["DryRun"]


async def test_another_machine_is_made_of_a_machine_and_of_its_snapshot(ui: Ui, world: World) -> None:
    await have_user_data(world)
    await ui.row("vm")
    await ui.press("K")
    await ui.shows("A new machine of vm (default)")
    await ui.press("enter")
    await ui.shows("machine vm-2 is made of vm")
    await world.phase("Ready", VIRTUAL_DISK, "vm-2")
    assert {item.name for item in (await world.store.list(SECRET, "default")).items} >= {"seed", "vm-2-seed"}
    await command(ui, "clone vm vm-2")
    await ui.shows("failed", "already exists", "Esc closes")
    await ui.press("escape")
    await ui.row("vm")
    await named(ui, "one")
    await ui.shows("snapshot one of vm is taken")
    await ui.press("8")
    await ui.row("one")
    await command(ui, "clone one three")
    await ui.shows("machine three is made of one")
    await world.until(lambda _: True, VIRTUAL_MACHINE, "three")


async def test_a_disk_is_taken_and_its_snapshot_becomes_another_one(ui: Ui, world: World) -> None:
    await ui.press("2")
    await ui.row("vm")
    await ui.press("K")
    await ui.shows("is copied by its snapshots")
    await named(ui, "one")
    await ui.shows("snapshot one of vm is taken")
    await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    await ui.press("9")
    await ui.row("one")
    await command(ui, "clone one other")
    await ui.shows("disk other is made of one")
    await world.phase("Ready", VIRTUAL_DISK, "other")
    assert await first(world, "other") == 1
    await ui.press("R")
    await ui.shows("restore does not apply: not for snapshots of disks")


async def test_what_cannot_be_is_said(ui: Ui, world: World) -> None:
    await ui.row("vm")
    await ui.press("R")
    await ui.shows("vm has no snapshot that is Ready")
    await named(ui, "Bad_Name")
    await ui.shows("metadata.name")
    await command(ui, f"clone vm {'n' * 60}")
    await ui.shows("59 characters are possible")
