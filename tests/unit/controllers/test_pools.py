"""Pools: members, disks and templates, one look at a time."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.resources.all import (
    RESOURCE_QUOTA,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_POOL,
)
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import PatchType
from tests.unit.controllers.pooling import NAME, PREFIX, Killed, Pool, disks_of, names, opened, told


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    async with opened(tmp_path) as made:
        yield made


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
