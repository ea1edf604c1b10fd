"""A disk of which two storages have a volume: both stay, users are told, an administrator removes the second."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.controllers.host.doubles import REASON
from hyperd.errors import Conflict, NotFound
from hyperd.resources.all import EVENT, VIRTUAL_DISK
from hyperd.storage.backends.directory.provisioner import DirectoryProvisioner
from hyperd.storage.departures import Departure
from tests.contract.volumes import rawfiles
from tests.unit.controllers.test_moves import files_of, moved, name, two_kinds, world, written
from tests.unit.controllers.world import World

__all__ = ["two_kinds", "world"]


async def doubled(world: World) -> str:
    """A disk that was moved to the other storage, and of which the first one has a volume again; its uid."""
    await written(world, 7)
    await name(world, "raw")
    await moved(world, "raw")
    await world.until(lambda disk: "operation" not in disk["status"], VIRTUAL_DISK, "vm")
    uid = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
    volumes = world._daemon._context.volumes
    await volumes.provisioner(DirectoryProvisioner.name).create_blank(uid, 1 << 20)
    return uid


async def told(world: World) -> list[dict[str, str]]:
    """What ``hv gc`` lists."""
    daemon = world._daemon
    assert daemon._sweeper is not None
    assert daemon._collection is not None
    await daemon._sweeper.sweep()
    return daemon._collection.kept()


async def seconds(world: World) -> list[str]:
    """The events that tell of it."""
    found = await world.store.find_all(EVENT, "default")
    return [event["message"] for event in found if event["reason"] == REASON]


async def test_a_second_volume_is_told_of_and_goes_by_an_administrators_word(world: World) -> None:
    uid = await doubled(world)
    (kept,) = await told(world)
    assert (kept["uid"], kept["kind"], kept["name"]) == (uid, "VirtualDisk", "default/vm")
    assert (
        f"VirtualDisk default/vm (uid {uid}) has its volume with {rawfiles.NAME}, and {DirectoryProvisioner.name} "
        "has another one of that uid, which nobody uses"
    ) in kept["message"]
    assert await told(world) == [kept], "since the first time"
    async with asyncio.timeout(20):
        while not (events := await seconds(world)):
            await asyncio.sleep(0.05)
    assert events == [kept["message"]]
    pool, raw = files_of(world)
    assert (len(pool), len(raw)) == (1, 1)
    sweeper = world._daemon._sweeper
    assert sweeper is not None
    await sweeper.empty([uid])
    assert (files_of(world)[0], await told(world)) == ([], [])
    assert len(files_of(world)[1]) == 1, "the disk's own stays"
    with pytest.raises(NotFound):
        await sweeper.empty([uid])


async def test_while_a_disk_is_moved_its_two_volumes_are_nothing_to_tell(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = await doubled(world)
    record = {"opUID": "o", "kind": "Migrate", "step": "release", "digest": "a b c d", "epoch": 1}
    monkeypatch.setattr(
        "hyperd.controllers.host.doubles.Record.of", lambda obj: record if obj["metadata"]["uid"] == uid else None
    )
    assert await told(world) == []


async def test_what_a_move_may_have_made_the_disk_is_not_removed_for_what_the_store_names(world: World) -> None:
    """The store is of before the move, and only this node's note knows of that."""
    uid = await doubled(world)
    departures, sweeper = world._daemon._context.volumes.departures, world._daemon._sweeper
    assert sweeper is not None
    await departures.note(uid, Departure(rawfiles.NAME, DirectoryProvisioner.name, "op"))
    (kept,) = await told(world)
    assert "this node does not know which is newer. Neither is removed" in kept["message"]
    with pytest.raises(Conflict, match="Neither is removed"):
        await sweeper.empty([uid])
    pool, raw = files_of(world)
    assert (len(pool), len(raw)) == (1, 1)


async def test_what_a_guest_went_on_in_is_the_disk_whatever_the_store_names(world: World) -> None:
    uid = await doubled(world)
    departures, sweeper = world._daemon._context.volumes.departures, world._daemon._sweeper
    assert sweeper is not None
    await departures.note(uid, Departure(rawfiles.NAME, DirectoryProvisioner.name, "op", final=True))
    (kept,) = await told(world)
    assert f"has its volume with {DirectoryProvisioner.name}, and {rawfiles.NAME} has another" in kept["message"]
    await sweeper.empty([uid])
    pool, raw = files_of(world)
    assert (len(pool), len(raw)) == (1, 0)
    assert departures.of(uid) == {}
