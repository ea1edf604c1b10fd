"""Disks of pools: handed on, kept, grown, and let go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hyperd import clock
from hyperd.resources.all import (
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import Object
from tests.unit.controllers.pooling import PREFIX, Pool, disks_of, names, opened


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    async with opened(tmp_path) as made:
        yield made


async def test_a_free_disk_is_handed_on_the_ready_one_first(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    await pool.run()
    await pool.scale(1)
    await pool.settle()
    await pool.bury()
    await pool.settle()
    free = [
        vd for vd in await pool.disks("data") if f"{PREFIX}free-since" in vd["metadata"].get("annotations", {})
    ]
    assert len(free) == 2
    assert sorted(one["name"] for one in (await pool.get())["status"]["freeDisks"]) == sorted(names(free))
    lost, ready = free
    lost["status"]["phase"] = "Provisioning"
    await pool.store.update(VIRTUAL_DISK, "default", lost["metadata"]["name"], lost, subresource="status")
    await pool.scale(2)
    await pool.settle()
    used = {disks_of(vm)[1] for vm in await pool.machines()}
    assert ready["metadata"]["name"] in used
    assert lost["metadata"]["name"] not in used
    again = (await pool.store.get(VIRTUAL_DISK, "default", ready["metadata"]["name"])).object()
    assert f"{PREFIX}free-since" not in again["metadata"].get("annotations", {})
    await pool.scale(4)
    await pool.settle()
    used = {disks_of(vm)[1] for vm in await pool.machines()}
    assert len(used) == 4
    assert lost["metadata"]["name"] in used


async def test_a_disk_that_another_machine_names_is_not_free(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    first = (await pool.machines())[0]
    body: Object = {
        "metadata": {"namespace": "default", "name": "other"},
        "spec": {**first["spec"], "blockDeviceRefs": [{"kind": "VirtualDisk", "name": disks_of(first)[1]}]},
    }
    await pool.store.create(VIRTUAL_MACHINE, "default", body)
    await pool.scale(0)
    await pool.settle()
    await pool.bury()
    await pool.settle()
    free = {one["name"] for one in (await pool.get())["status"]["freeDisks"]}
    assert len(free) == 2
    assert disks_of(first)[1] not in free
    await pool.scale(3)
    await pool.settle()
    mine = [vm for vm in await pool.machines() if vm["metadata"]["name"] != "other"]
    assert disks_of(first)[1] not in {disks_of(vm)[1] for vm in mine}


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = clock.elapsed()
    monkeypatch.setattr(clock, "elapsed", lambda: now + seconds)


async def test_free_disks_go_after_their_time_but_for_the_newest(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep_one(obj: Object) -> None:
        obj["spec"]["virtualDiskTemplates"][1]["reclaim"] = {"onScaleDown": "Retain", "keep": 1, "ttl": "1h30m"}

    await pool.make(keep_one)
    await pool.settle()
    for left in (2, 1):
        await pool.scale(left)
        await pool.settle()
        await pool.bury()
        await pool.settle()
        pass_time(monkeypatch, 60.0)
    newest = max((await pool.get())["status"]["freeDisks"], key=lambda one: one["timer"]["at"])
    await pool.learn()
    result = await pool.look()
    assert result is not None
    assert 0 < (result.requeue_after or 0) <= 90 * 60
    assert len(await pool.disks("data")) == 3
    pass_time(monkeypatch, 90 * 60.0)
    await pool.settle()
    await pool.bury()
    await pool.settle()
    assert [one["name"] for one in (await pool.get())["status"]["freeDisks"]] == [newest["name"]]
    assert len(await pool.disks("data")) == 2


async def test_a_stepped_wall_clock_costs_no_disk(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    await pool.make(lambda obj: obj["spec"]["virtualDiskTemplates"][1]["reclaim"].update(keep=0, ttl="1h"))
    await pool.settle()
    await pool.scale(0)
    await pool.settle()
    await pool.bury()
    await pool.settle()
    wall = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: wall + 10 * 86400)
    pool.begin()
    await pool.settle()
    assert len(await pool.disks("data")) == 3


def resize(size: str) -> Any:
    def edit(obj: Object) -> None:
        obj["spec"]["virtualDiskTemplates"][1]["spec"]["persistentVolumeClaim"]["size"] = size

    return edit


async def test_disks_grow_with_their_template_and_never_shrink(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    for wanted, has in (("2Gi", "2Gi"), ("1Gi", "2Gi")):
        await pool.change(resize(wanted))
        await pool.settle()
        assert {vd["spec"]["persistentVolumeClaim"]["size"] for vd in await pool.disks("data")} == {has}
    await pool.scale(4)
    await pool.settle()
    sizes = sorted(vd["spec"]["persistentVolumeClaim"]["size"] for vd in await pool.disks("data"))
    assert sizes == ["1Gi", "2Gi", "2Gi", "2Gi"]


def without(name: str) -> Any:
    def edit(obj: Object) -> None:
        spec = obj["spec"]
        spec["virtualDiskTemplates"] = [one for one in spec["virtualDiskTemplates"] if one["name"] != name]
        machine = spec["virtualMachineTemplate"]["spec"]
        machine["blockDeviceRefs"] = [one for one in machine["blockDeviceRefs"] if one["name"] != name]

    return edit


async def test_disks_of_a_removed_template_are_detached_and_then_deleted(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    first = (await pool.machines())[0]
    first["status"] = {
        "phase": "Running",
        "observedGeneration": 1,
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": disks_of(first)[1], "attached": True, "size": "1Gi"}],
    }
    await pool.store.update(VIRTUAL_MACHINE, "default", first["metadata"]["name"], first, subresource="status")
    await pool.change(without("data"))
    await pool.settle()
    assert {len(disks_of(vm)) for vm in await pool.machines()} == {1}
    left = [vd for vd in await pool.disks("data") if not vd["metadata"].get("deletionTimestamp")]
    assert names(left) == [disks_of(first)[1]], "a guest still has it"
    await pool.run()
    await pool.settle()
    await pool.bury()
    assert await pool.disks("data") == []


async def test_a_boot_disk_stays_until_its_machine_is_made_anew(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    await pool.change(without("root"))
    await pool.settle()
    assert {len(disks_of(vm)) for vm in await pool.machines()} == {2}
    assert not any(vd["metadata"].get("deletionTimestamp") for vd in await pool.disks("root"))
    await pool.store.delete(VIRTUAL_MACHINE, "default", (await pool.machines())[0]["metadata"]["name"])
    await pool.bury()
    await pool.settle()
    assert sorted(len(disks_of(vm)) for vm in await pool.machines()) == [1, 2, 2]
    assert len(await pool.disks("root")) == 2


@pytest.mark.parametrize(("policy", "kind"), [("Retain", "VirtualMachinePool"), ("Delete", "VirtualMachine")])
async def test_a_changed_policy_holds_for_disks_in_use(pool: Pool, policy: str, kind: str) -> None:
    index = 0 if policy == "Retain" else 1
    await pool.make()
    await pool.settle()
    await pool.change(
        lambda obj: obj["spec"]["virtualDiskTemplates"][index].update(reclaim={"onScaleDown": policy})
    )
    await pool.settle()
    owned = [vd["metadata"]["ownerReferences"] for vd in await pool.disks("root" if index == 0 else "data")]
    assert [[ref["kind"] for ref in refs] for refs in owned] == [[kind]] * 3
    await pool.scale(0)
    await pool.settle()
    await pool.bury()
    await pool.settle()
    assert len(await pool.disks()) == (6 if policy == "Retain" else 0)
