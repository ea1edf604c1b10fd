"""Pools: members, disks and templates, one look at a time."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hyperd import clock
from hyperd.resources.all import (
    RESOURCE_QUOTA,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_POOL,
)
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import PatchType
from tests.unit.controllers.pooling import NAME, Killed, Pool, opened

PREFIX = "vmpool.virtualization.deckhouse.io/"


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    async with opened(tmp_path) as made:
        yield made


def names(objects: list[Object]) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


def disks_of(vm: Object) -> list[str]:
    return [ref["name"] for ref in vm["spec"]["blockDeviceRefs"] if ref["kind"] == "VirtualDisk"]


async def told(pool: Pool, type_: str) -> tuple[str, str, str] | None:
    found = find_condition(await pool.get(), type_)
    return None if found is None else (found["status"], found["reason"], found["message"])


async def test_machines_and_disks_are_called_marked_and_owned_as_the_reference_says(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    uid = (await pool.get())["metadata"]["uid"]
    machines = await pool.machines()
    assert len(machines) == 3
    for vm in machines:
        meta = vm["metadata"]
        assert re.fullmatch(r"workers-[a-z0-9]{5}", meta["name"])
        digest = meta["labels"].pop(f"{PREFIX}template-hash")
        assert meta["annotations"] == {f"{PREFIX}patched-template-hash": digest}
        assert meta["labels"] == {"app": "worker", f"{PREFIX}pool": NAME, f"{PREFIX}pool-uid": uid}
        (owner,) = meta["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("VirtualMachinePool", uid, True)
        root, data = disks_of(vm)
        assert root == f"{meta['name']}-root"
        assert re.fullmatch(r"workers-data-[a-z0-9]{6}", data)
        assert [ref["kind"] for ref in vm["spec"]["blockDeviceRefs"]][2] == "ClusterVirtualImage"
        for name, of, owned_by in ((root, "root", meta["uid"]), (data, "data", uid)):
            disk = (await pool.store.get(VIRTUAL_DISK, "default", name)).object()
            assert disk["metadata"]["labels"] == {
                f"{PREFIX}pool": NAME, f"{PREFIX}pool-uid": uid, f"{PREFIX}disk-template": of,
            }  # fmt: skip
            assert [ref["uid"] for ref in disk["metadata"]["ownerReferences"]] == [owned_by]
    assert len(await pool.disks()) == 6
    status = (await pool.get())["status"]
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (3, 0, 0)
    assert status["selector"] == f"{PREFIX}pool-uid={uid}"
    assert "creating" not in status
    assert [reason for reason, _ in pool.told] == ["SuccessfulCreate"] * 3


async def test_a_pool_tells_how_it_is(pool: Pool) -> None:
    await pool.make()
    await pool.learn()
    await pool.look()
    await pool.learn()
    await pool.look()
    assert await told(pool, "Available") == (
        "False", "InsufficientReadyReplicas", "0 of 3 machines run (3 Pending).",
    )  # fmt: skip
    await pool.run()
    await pool.settle()
    assert await told(pool, "Available") == ("True", "AllReplicasReady", "")
    assert await told(pool, "Progressing") is None
    assert await told(pool, "Synced") == ("True", "PoolSynced", "")
    await pool.scale(4)
    await pool.learn()
    await pool.look()
    assert await told(pool, "Progressing") == ("True", "ReplicasProgressing", "3 of 4 machines are there.")


@pytest.mark.parametrize("policy", ["NewestFirst", "OldestFirst"])
async def test_a_lower_number_takes_the_newest_or_the_oldest(pool: Pool, policy: str) -> None:
    await pool.make(lambda obj: obj["spec"].update(scaleDownPolicy=policy))
    await pool.settle()
    before = names(await pool.machines())
    await pool.scale(1)
    await pool.settle()
    going = [vm for vm in await pool.machines() if vm["metadata"].get("deletionTimestamp")]
    assert names(going) == (before[1:] if policy == "NewestFirst" else before[:2])
    assert (await pool.get())["status"]["replicas"] == 3, "those that go count until they are gone"
    await pool.bury()
    await pool.settle()
    assert len(await pool.machines()) == 1
    assert len(await pool.disks("root")) == 1
    assert len(await pool.disks("data")) == 3


async def test_nobody_goes_unnamed_where_only_names_count(pool: Pool) -> None:
    await pool.make(lambda obj: obj["spec"].update(scaleDownPolicy="Explicit"))
    await pool.settle()
    await pool.scale(1)
    await pool.settle()
    assert [vm["metadata"].get("deletionTimestamp") for vm in await pool.machines()] == [None] * 3
    status, reason, message = await told(pool, "Progressing") or ("", "", "")
    assert (status, reason) == ("True", "ReplicasProgressing")
    assert message.endswith("only those that are named to the subresource scaledownwith.")


async def test_a_machine_that_goes_is_replaced_once_it_is_gone(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    gone = (await pool.machines())[0]["metadata"]["name"]
    await pool.store.delete(VIRTUAL_MACHINE, "default", gone)
    await pool.settle()
    assert len(await pool.machines()) == 3
    await pool.bury()
    await pool.settle()
    assert len(await pool.machines()) == 3
    assert gone not in names(await pool.machines())


async def test_machines_that_are_stopped_or_unwell_stay(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    before = names(await pool.machines())
    trouble = {"type": "Running", "status": "False", "reason": "NotRunning", "message": "It was stopped."}
    stopped = {**trouble, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    await pool.run(phase="Stopped", conditions=[stopped])
    await pool.settle()
    assert names(await pool.machines()) == before
    _, _, message = await told(pool, "Available") or ("", "", "")
    assert message == f'0 of 3 machines run (3 Stopped). VirtualMachine "{before[0]}": It was stopped.'


async def test_a_machine_without_its_label_or_owner_is_none_of_the_pool(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    first, second, _ = names(await pool.machines())
    patch: Object = {"metadata": {"labels": {f"{PREFIX}pool-uid": None}}}
    await pool.store.patch(VIRTUAL_MACHINE, "default", first, PatchType.MERGE, patch)
    patch = {"metadata": {"ownerReferences": None}}
    await pool.store.patch(VIRTUAL_MACHINE, "default", second, PatchType.MERGE, patch)
    await pool.settle()
    assert len(await pool.machines()) == 5
    await pool.scale(0)
    await pool.settle()
    await pool.bury()
    assert {first, second} <= {*names(await pool.machines())}, "who was let go is not removed"


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


async def test_an_edited_template_reaches_the_machines_in_place(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    await pool.run()
    await pool.settle()
    before = await pool.get()
    assert before["status"]["updatedReplicas"] == 3

    def edit(obj: Object) -> None:
        machine = obj["spec"]["virtualMachineTemplate"]
        machine["spec"]["memory"]["size"] = "2Gi"
        machine["spec"]["blockDeviceRefs"].pop()
        machine["metadata"]["labels"]["tier"] = "new"

    await pool.change(edit)
    await pool.settle()
    for vm in await pool.machines():
        assert vm["spec"]["memory"]["size"] == "2Gi"
        assert len(vm["spec"]["blockDeviceRefs"]) == 3, "devices of machines that are there stay"
        assert "tier" not in vm["metadata"]["labels"]
        assert vm["metadata"]["labels"][f"{PREFIX}template-hash"] == before["status"]["desiredTemplateHash"]
    after = await pool.get()
    assert after["status"]["desiredTemplateHash"] != before["status"]["desiredTemplateHash"]
    assert await told(pool, "Synced") == (
        "False", "RolloutInProgress", "0 of 3 machines run by the template.",
    )  # fmt: skip
    waits = {
        "type": "AwaitingRestartToApplyConfiguration", "status": "True", "reason": "ChangesPendingRestart",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    await pool.run(conditions=[waits])
    await pool.settle()
    assert (await pool.get())["status"]["restartPendingReplicas"] == 3
    assert await told(pool, "Synced") == (
        "False", "RestartPendingApproval", "3 of 3 machines wait for a restart to run by the template.",
    )  # fmt: skip
    await pool.run()
    await pool.settle()
    status = (await pool.get())["status"]
    assert (status["updatedReplicas"], status["restartPendingReplicas"]) == (3, 0)
    assert await told(pool, "Synced") == ("True", "PoolSynced", "")
    await pool.scale(4)
    await pool.settle()
    newest = next(vm for vm in await pool.machines() if vm["metadata"]["labels"].get("tier"))
    assert len(newest["spec"]["blockDeviceRefs"]) == 2


async def test_what_a_user_changed_of_a_machine_stays_until_the_template_is_edited(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    name = (await pool.machines())[0]["metadata"]["name"]
    patch: Object = {"spec": {"memory": {"size": "3Gi"}}}
    await pool.store.patch(VIRTUAL_MACHINE, "default", name, PatchType.MERGE, patch)
    await pool.settle()
    assert (await pool.store.get(VIRTUAL_MACHINE, "default", name)).object()["spec"]["memory"]["size"] == "3Gi"


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


async def test_a_machine_that_is_refused_is_told_and_tried_later_each_time(pool: Pool) -> None:
    await pool.make()
    quota: Object = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "default"},
        "spec": {"hard": {"count/virtualmachines.virtualization.deckhouse.io": "2"}},
    }  # fmt: skip
    await pool.store.create(RESOURCE_QUOTA, "default", quota)
    await pool.learn()
    first = await pool.look()
    await pool.learn()
    asked = pool.dying.asked["create virtualmachines"]
    await pool.look()
    assert pool.dying.asked["create virtualmachines"] == asked, "not before its time"
    assert len(await pool.machines()) == 2
    status, reason, message = await told(pool, "Progressing") or ("", "", "")
    assert (status, reason) == ("True", "ReplicasProgressing")
    assert message.startswith("2 of 3 machines are there. virtualmachines.virtualization.deckhouse.io")
    assert "exceeded quota: few" in message
    assert "exceeded quota: few" in ((await told(pool, "Available")) or ("", "", ""))[2]
    assert ("FailedCreate" in [reason for reason, _ in pool.told]) is True
    assert first is not None
    assert 0 < (first.requeue_after or 0) <= 1.3
    for _ in range(3):
        for one in pool.controller._refused.values():
            one.due = 0.0
        later = await pool.look()
    assert later is not None
    assert (later.requeue_after or 0) > 4
    await pool.scale(2)
    await pool.settle()
    assert await told(pool, "Progressing") is None


async def test_a_name_that_is_taken_is_left_to_who_has_it(pool: Pool) -> None:
    await pool.make(lambda obj: obj["spec"].update(replicas=1))
    pool.begin(left=1, made=False)
    await pool.learn()
    with pytest.raises(Killed):
        await pool.look()
    assert await pool.machines() == []
    (one,) = (await pool.get())["status"]["creating"]
    body: Object = {
        "metadata": {"namespace": "default", "name": one["name"]},
        "spec": {
            "cpu": {"cores": 1}, "memory": {"size": "1Gi"}, "virtualMachineClassName": "generic",
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "x"}],
        },
    }  # fmt: skip
    await pool.store.create(VIRTUAL_MACHINE, "default", body)
    pool.begin()
    await pool.settle()
    assert len(await pool.machines()) == 2
    assert (await pool.get())["status"]["replicas"] == 1


async def test_machines_that_were_named_go_and_are_forgotten_when_gone(pool: Pool) -> None:
    await pool.make(lambda obj: obj["spec"].update(scaleDownPolicy="Explicit"))
    await pool.settle()
    target = (await pool.machines())[1]

    def name_it(obj: Object) -> None:
        obj["spec"]["replicas"] = 2
        obj["metadata"]["annotations"] = {f"{PREFIX}scale-down-with": target["metadata"]["uid"]}

    await pool.change(name_it)
    await pool.settle()
    assert [bool(vm["metadata"].get("deletionTimestamp")) for vm in await pool.machines()] == [False, True, False]
    assert f"{PREFIX}scale-down-with" in (await pool.get())["metadata"]["annotations"]
    await pool.bury()
    await pool.settle()
    assert len(await pool.machines()) == 2
    assert f"{PREFIX}scale-down-with" not in (await pool.get())["metadata"].get("annotations", {})


async def test_fifty_machines_cost_no_more_each_than_five(pool: Pool) -> None:
    costs = []
    await pool.make(lambda obj: obj["spec"].update(replicas=0))
    for number in (5, 55):
        pool.begin()
        await pool.settle()
        pool.dying.asked.clear()
        await pool.scale(number)
        await pool.settle()
        await pool.run()
        await pool.settle()
        assert len(await pool.machines()) == number
        costs.append(dict(pool.dying.asked))
    few, many = costs
    assert few["create virtualmachines"] == 5
    assert many["create virtualmachines"] == 50
    assert many["create virtualdisks"] == 100
    assert many["list virtualmachines"] <= few["list virtualmachines"] + 1
    assert many["update virtualmachinepools"] <= few["update virtualmachinepools"] + 1


async def test_a_pool_that_goes_takes_all_with_it(pool: Pool) -> None:
    await pool.make()
    await pool.settle()
    await pool.scale(1)
    await pool.settle()
    await pool.bury()
    await pool.settle()
    await pool.store.delete(VIRTUAL_MACHINE_POOL, "default", NAME)
    await pool.collected()
    await pool.bury()
    assert await pool.machines() == []
    assert await pool.disks() == []


async def test_a_class_that_is_gone_is_told_of_each_machine_to_come(pool: Pool) -> None:
    def unset(obj: Object) -> None:
        obj["spec"]["virtualMachineTemplate"]["spec"]["cpu"].pop("coreFraction")

    await pool.make(unset)
    await pool.store.patch(
        VIRTUAL_MACHINE_CLASS, "", "generic", PatchType.MERGE, {"metadata": {"finalizers": None}}
    )
    await pool.store.delete(VIRTUAL_MACHINE_CLASS, "", "generic")
    await pool.settle()
    _, _, message = await told(pool, "Available") or ("", "", "")
    assert 'VirtualMachineClass "generic" does not exist' in message
