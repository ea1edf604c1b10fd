"""``hv snapshot`` and ``hv clone`` against a whole daemon, with a machine that is off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from hyperd.client import snapshots
from hyperd.errors import BadRequest
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_OPERATION,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from hyperd.resources.schema.kind import Kind
from hyperd.store.interface import PatchType
from tests.unit.cli.conftest import Hv, seen
from tests.unit.controllers.test_machine_snapshots import give_user_data
from tests.unit.controllers.test_restore import first, write
from tests.unit.controllers.world import World, running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        await made.give_disk()
        await write(made, 1)
        await made.make_machine(runPolicy="Manual")
        await made.phase("Stopped")
        yield made


@pytest.fixture
def hv(world: World) -> Hv:
    return Hv(seen(world._settings))


async def have_user_data(world: World) -> None:
    """In a Secret."""
    await give_user_data(world)
    provisioning = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "seed"}}
    patch = {"spec": {"provisioning": provisioning}}
    await world.store.patch(VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, patch)


async def change_secret(world: World) -> None:
    """So that what a snapshot holds of it is not what is there."""
    await world.store.patch(SECRET, "default", "seed", PatchType.MERGE, {"data": {"userData": "eA=="}})


async def names(world: World, kind: Kind) -> set[str]:
    return {item.name for item in (await world.store.list(kind, "default")).items}


async def test_a_restore_shows_what_would_become_of_each_object_and_loses_nothing_without_a_yes(
    hv: Hv, world: World
) -> None:
    taken = await hv("snapshot", "create", "vm/vm", "one", "-w", "--keep-ip", "never")
    assert taken.out == "virtualmachinesnapshot/one Ready\n"
    await write(world, 2)
    unasked = await hv("snapshot", "restore", "one", code=1)
    assert "Nobody answered" in unasked.err
    assert "VirtualDisk/vm" in unasked.out
    assert "valid for restore" in unasked.out
    assert "written to the disk vm since the snapshot" in unasked.err
    await hv("snapshot", "restore", "one", stdin="n\n")
    told = await hv("snapshot", "restore", "one", "--dry-run")
    assert "Nothing was done" in told.out
    assert await first(world) == 2
    done = await hv("snapshot", "restore", "vms/one", stdin="y\n")
    assert done.out.splitlines()[-1] == "virtualmachine/vm is as it was in one"
    assert await first(world) == 1


async def test_what_a_trial_finds_wrong_is_told_before_anybody_is_asked(hv: Hv, world: World) -> None:
    await have_user_data(world)
    await hv("snapshot", "create", "vm", "one", "-w")
    await change_secret(world)
    refused = await hv("snapshot", "restore", "one", stdin="y\n", code=1)
    assert "Failed" in refused.out
    assert "Nothing was done" in refused.err
    assert "sure?" not in refused.err
    forced = await hv("snapshot", "restore", "one", "-y", code=1)
    assert "exists with other content" in forced.out
    made = json.loads((await hv("snapshot", "restore", "one", "-y", "-o", "json", code=1)).out)
    assert made["status"]["phase"] == "Failed"


async def test_a_copy_of_a_machine_and_of_its_snapshot_has_names_of_its_own(hv: Hv, world: World) -> None:
    await have_user_data(world)
    only_told = await hv("clone", "vm/vm", "two", "--dry-run")
    assert "VirtualDisk/two " in only_told.out
    assert await names(world, VIRTUAL_MACHINE) == {"vm"}
    made = await hv("clone", "vm", "two")
    assert made.out.splitlines()[-1] == "virtualmachine/two is made"
    assert await names(world, VIRTUAL_DISK) == {"vm", "two"}
    assert "two-seed" in await names(world, SECRET)
    await hv("snapshot", "create", "vm/vm", "one", "-w")
    await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
    await world.gone()
    gone = await hv("snapshot", "restore", "one", code=1)
    assert "`hv snapshot clone one --as vm` makes it again" in gone.err
    assert "virtualmachine/three is made" in (await hv("snapshot", "clone", "one", "--as", "three")).out
    await world.phase("Ready", VIRTUAL_DISK, "three")
    assert await first(world, "three") == 1
    for command in (("clone", "two", "three"), ("snapshot", "clone", "one", "--as", "three")):
        before = await names(world, VIRTUAL_MACHINE_OPERATION)
        assert "three is there already" in (await hv(*command, code=1)).err
        assert await names(world, VIRTUAL_MACHINE_OPERATION) == before


async def test_a_disk_s_snapshot_becomes_another_disk(hv: Hv, world: World) -> None:
    await hv("snapshot", "create", "vd/vm", "old", "-w")
    await write(world, 2)
    assert "only machines are put back" in (await hv("snapshot", "restore", "old", code=1)).err
    assert (await hv("snapshot", "clone", "old", "--as", "new")).out == "virtualdisk/new Ready\n"
    assert await first(world, "new") == 1
    await hv("snapshot", "delete", "old")
    assert await names(world, VIRTUAL_DISK_SNAPSHOT) == set()


async def test_a_list_is_of_all_or_of_one_and_leaves_out_the_parts_of_others(hv: Hv, world: World) -> None:
    assert "no snapshots" in (await hv("snapshot", "list")).err
    await hv("snapshot", "create", "vm/vm", "one", "-w")
    await hv("snapshot", "create", "vd/vm", "-w")
    lines = (await hv("snapshot", "list")).out.splitlines()
    assert lines[0].split() == ["NAME", "OF", "PHASE", "CONSISTENT", "AGE"]
    assert lines[1].split()[:4] == ["vms/one", "vm/vm", "Ready", "true"]
    assert lines[2].startswith("vds/vm-2")
    assert len((await hv("snapshot", "list", "vd/vm")).out.splitlines()) == 3
    assert len((await hv("snapshot", "list", "--all")).out.splitlines()) == 4
    listed = json.loads((await hv("snapshot", "list", "vm/vm", "-o", "json")).out)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["one"]


async def test_what_is_not_there_or_not_meant_is_said_and_leaves_nothing(hv: Hv, world: World) -> None:
    for words, said in (
        (("create", "vm/no"), "not found"),
        (("create", "vi/no"), "write vm/NAME or vd/NAME"),
        (("create", "vd/vm", "--keep-ip", "always"), "no address"),
        (("restore", "no"), "no snapshot no"),
        (("restore",), "one snapshot"),
        (("restore", "no", "--dry-run", "--mode", "strict"), "contradict"),
        (("clone", "no"), "--as"),
        (("delete",), "which snapshot"),
        (("list", "vm/no"), "not found"),
        (("create", "vm/vm", "--mode", "best-effort"), "restore and clone"),
    ):
        assert said in (await hv("snapshot", *words, code=1)).err, words
    assert await names(world, VIRTUAL_MACHINE_SNAPSHOT) == set()


@pytest.mark.parametrize("dry", [("--dry-run",), ("--mode", "dry-run")])
async def test_a_dry_run_changes_nothing(hv: Hv, world: World, dry: tuple[str, ...]) -> None:
    await hv("snapshot", "create", "vd/vm", "old", "-w")
    assert (await hv("snapshot", "create", "vd/vm", "no", "-w", *dry)).out.endswith("/no created (dry run)\n")
    assert (await hv("snapshot", "clone", "old", "--as", "new", *dry)).out.endswith("/new created (dry run)\n")
    assert (await hv("snapshot", "delete", "old", *dry)).out.endswith("/old deleted (dry run)\n")
    assert await names(world, VIRTUAL_DISK_SNAPSHOT) == {"old"}
    assert await names(world, VIRTUAL_DISK) == {"vm"}


async def test_completion_knows_actions_and_what_they_are_done_to(hv: Hv) -> None:
    async def words(*line: str) -> list[str]:
        return (await hv("__complete", str(len(line)), *line)).out.split()

    assert await words("snapshot", "re") == ["restore"]
    assert await words("snapshot", "create", "v") == ["vm/vm", "vd/vm"]
    assert await words("snapshot", "restore", "x", "--mode", "b") == ["best-effort"]
    await hv("snapshot", "create", "vm/vm", "one", "-w")
    assert "one" in await words("snapshot", "restore", "-n", "default", "")
    assert await words("snapshot", "clone", "one", "--as", "") == []
    assert await words("clone", "") == ["vm"]


def test_names_of_copies_follow_their_machine_s() -> None:
    parts = [
        ("VirtualMachine", "web"),
        ("VirtualDisk", "web-root"),
        ("VirtualDisk", "webs"),
        ("VirtualImage", "i"),
    ]
    made = {each["from"]["name"]: each["to"] for each in snapshots.renames(parts, "web", "shop")}
    assert made == {"web": "shop", "web-root": "shop-root", "webs": "shop-webs"}
    with pytest.raises(BadRequest, match="59 characters are possible"):
        snapshots.renames(parts, "web", "s" * 58)
