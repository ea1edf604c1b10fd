"""``hv disk resize``, ``attach`` and ``detach`` against a whole daemon; tests/host has them with guests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hyperd.client import devices
from hyperd.errors import BadRequest, Conflict, NotFound
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
from hyperd.resources.schema.kind import Object
from tests.unit.cli.conftest import Hv, seen
from tests.unit.controllers.world import World, running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        await made.give_disk()
        yield made


@pytest.fixture
def hv(world: World) -> Hv:
    return Hv(seen(world._settings))


async def attachments(world: World) -> set[str]:
    listed = await world.store.list(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, "default")
    return {item.name for item in listed.items}


async def test_a_disk_grows_to_a_size_or_by_one_and_never_shrinks(hv: Hv, world: World) -> None:
    assert (await hv("disk", "resize", "vd/vm", "2Mi")).out == "virtualdisk/vm has 2Mi\n"
    assert (await hv("disk", "resize", "vm", "+1Mi")).out == "virtualdisk/vm has 3Mi\n"
    assert (await world.phase("Ready", VIRTUAL_DISK))["status"]["capacity"] == "3Mi"
    assert "disks only grow" in (await hv("disk", "resize", "vm", "1Mi", code=1)).err
    assert "is no size" in (await hv("disk", "resize", "vm", "much", code=1)).err
    assert "how large" in (await hv("disk", "resize", "vm", code=1)).err


async def test_what_comes_to_a_machine_goes_again_and_what_cannot_leaves_nothing(hv: Hv, world: World) -> None:
    await world.make_machine(runPolicy="Manual")
    await world.phase("Stopped")
    await hv("create", "disk", "data", "--size", "1Mi")
    told = await hv("disk", "attach", "vd/data", "vm/vm")
    assert "vm is Stopped, and has it when it starts" in told.out
    assert [name.rpartition("-")[0] for name in await attachments(world)] == ["vm-data"]
    assert "attached by" in (await hv("disk", "attach", "vd/data", "vm/vm", code=1)).err
    assert "is detached from virtualmachine/vm" in (await hv("disk", "detach", "data")).out
    assert await attachments(world) == set()
    await hv("start", "vm", "-w")
    refused = await hv("disk", "attach", "vd/vm", "vm/vm", code=1)
    assert "cannot be attached to vm" in refused.err
    assert await attachments(world) == set()
    for words, said in (
        (("attach", "data"), "to which machine"),
        (("attach", "data", "vm/no"), "not found"),
        (("attach", "no", "vm/vm"), "not found"),
        (("attach", "data", "vd/vm"), "write vm/NAME"),
        (("attach", "vms/data", "vm/vm"), "write vd/NAME"),
        (("detach", "data"), "is not attached"),
        (("export", "vd/data", "more"), "one source"),
    ):
        assert said in (await hv("disk", *words, code=1)).err, words
    assert await attachments(world) == set()


def test_of_several_attachments_it_is_said_which() -> None:
    two: list[Object] = [devices.attachment("n", "VirtualImage", "iso", machine) for machine in ("a", "b")]
    with pytest.raises(Conflict, match="a, b"):
        devices.attached_by(two, "VirtualImage", "iso")
    assert devices.attached_by(two, "VirtualImage", "iso", "b") is two[1]
    with pytest.raises(NotFound):
        devices.attached_by(two, "VirtualDisk", "iso")


def test_a_size_beyond_what_there_is_keeps_a_unit_that_people_read() -> None:
    disk: Object = {"metadata": {"name": "d"}, "status": {"capacity": "10Gi", "phase": "Ready"}}
    assert devices.grown(disk, "+10Gi") == "20Gi"
    assert devices.grown(disk, "+512Mi") == "10752Mi"
    assert devices.grown(disk, "+1") == "10737418241"
    with pytest.raises(BadRequest, match="has no size yet"):
        devices.grown({"metadata": {"name": "d"}}, "20Gi")
