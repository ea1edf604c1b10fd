"""A guest ends by what the store says, asked twice, never by what one copy of it shows."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.controllers.disk.controller import DiskController
from hyperd.controllers.machine import elsewhere
from hyperd.controllers.machine.controller import MachineController
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.power import ActiveOperation
from hyperd.controllers.machine.shutdown import Shutdown
from hyperd.controllers.placement import placing
from hyperd.errors import TemporaryError
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_operation import OperationType
from hyperd.resources.values import names
from hyperd.runtime.controller import Key
from hyperd.store.interface import Item
from tests.unit.controllers.sweeping import HERE, Host, host

WEB = Key("default", "web")


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(elsewhere, "_DOUBT_SECONDS", 0.0)
    async with host(tmp_path) as made:
        yield made


def shown(node: Host, uid: str, bound_to: str) -> None:
    """What the informer has, whatever the store says."""
    meta = {"name": "web", "namespace": "default", "uid": uid, "resourceVersion": "1"}
    obj = {"metadata": meta, "spec": {}, "status": {"nodeName": bound_to}}
    node.informer(VIRTUAL_MACHINE)._put(("default", "web"), Item.of(obj))


def stored(node: Host, uid: str, bound_to: str) -> None:
    node.objects.put(VIRTUAL_MACHINE, "web", uid, status={"nodeName": bound_to} if bound_to else {})


async def runs(node: Host, uid: str) -> bool:
    domain = await node.hypervisor.info(uid)
    return domain is not None and domain.active


@pytest.mark.parametrize("truth", ["here", "nobody's", "gone", "another machine of that name"])
async def test_a_copy_that_is_wrong_ends_no_guest(node: Host, truth: str) -> None:
    uid, _ = await node.make("web")
    await node.sync()
    controller = MachineController(node.context, node.placement)
    shown(node, uid, "other")
    if truth == "gone":
        node.objects.drop(VIRTUAL_MACHINE, "web")
    elif truth == "another machine of that name":
        stored(node, str(uuid.uuid4()), "other")
    else:
        stored(node, uid, HERE if truth == "here" else "")
    for _ in range(5):
        assert await controller.reconcile(WEB) is not None, "it looks again"
    assert await runs(node, uid)
    assert await node.held() == await node.held()
    await controller.close()


async def test_a_store_that_says_so_once_ends_no_guest(node: Host) -> None:
    uid, _ = await node.make("web")
    controller = MachineController(node.context, node.placement)
    shown(node, uid, "other")
    for _ in range(4):
        for bound_to in ("other", HERE):
            stored(node, uid, bound_to)
            await controller.reconcile(WEB)
            assert await runs(node, uid)
    for bound_to in ("other", "third", "other", "third"):
        stored(node, uid, bound_to)
        await controller.reconcile(WEB)
        assert await runs(node, uid)
    await controller.close()


async def test_a_machine_that_is_another_nodes_ends_here_and_leaves_its_files(node: Host) -> None:
    uid, _ = await node.make("web")
    controller = MachineController(node.context, node.placement)
    shown(node, uid, "other")
    stored(node, uid, "other")
    files = (await node.held())[0]
    await controller.reconcile(WEB)
    assert await runs(node, uid)
    await controller.reconcile(WEB)
    assert not await runs(node, uid)
    assert (await node.held())[0] == files
    assert not node.network.links
    assert await node.hypervisor.info(uid) is not None, "its definition stays"
    await controller.close()


async def test_a_restored_store_ends_no_guest_by_its_bindings(node: Host) -> None:
    uid, _ = await node.make("web")
    controller = MachineController(node.context, node.placement)
    node.objects.version -= 500
    await node.sweeper.sweep()
    assert node.context.witness.waits
    shown(node, uid, "other")
    stored(node, uid, "other")
    for _ in range(4):
        await controller.reconcile(WEB)
    assert await runs(node, uid)
    await controller.close()


async def test_what_lost_its_node_is_taken_back_by_the_node_that_holds_it(node: Host) -> None:
    """A restored store may know a machine from before it was bound."""
    uid, disk_uid = await node.make("web")
    node.objects.put(VIRTUAL_MACHINE, "web", uid, status={})
    await node.sync()
    controller, disks = (
        MachineController(node.context, node.placement),
        DiskController(node.context, node.placement),
    )
    await controller.reconcile(WEB)
    await disks.reconcile(WEB)
    machine = await node.objects.find(VIRTUAL_MACHINE, *WEB)
    disk = await node.objects.find(VIRTUAL_DISK, *WEB)
    assert machine is not None
    assert disk is not None
    assert machine["status"]["nodeName"] == HERE
    assert disk["metadata"]["annotations"] == {names.SELECTED_NODE_ANNOTATION: HERE}
    assert await runs(node, uid)
    assert disk["metadata"]["uid"] == disk_uid
    await controller.close()
    await disks.close()


async def test_only_what_is_old_waits_for_a_node_to_claim_it(node: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("hyperd.clock.elapsed", lambda: now)
    nodes = placing.Nodes(node.context)
    new = {"metadata": {"uid": "new"}}
    old = {"metadata": {"uid": "old"}, "status": {"phase": "Pending"}}
    assert nodes.left_to_claim(new) == 0
    assert nodes.left_to_claim({**new, "status": {"phase": "Pending"}}) == 0
    assert nodes.left_to_claim(old) == placing.CLAIM_SECONDS
    now += placing.CLAIM_SECONDS
    assert nodes.left_to_claim(old) == 0


@pytest.mark.parametrize("operation", ["gone", "another", "over", "in progress"])
async def test_a_stop_asks_whether_its_operation_still_stands(node: Host, operation: str) -> None:
    uid, _ = await node.make("web")
    node.objects.put(VIRTUAL_MACHINE, "web", uid, status={"nodeName": HERE, "holder": {"epoch": 1, "node": HERE}})
    await node.sync()
    op_uid = str(uuid.uuid4())
    if operation != "gone":
        phase = "Completed" if operation == "over" else "InProgress"
        other = str(uuid.uuid4()) if operation == "another" else op_uid
        node.objects.put(VIRTUAL_MACHINE_OPERATION, "stop", other, status={"phase": phase})
    domain = await node.hypervisor.info(uid)
    machine = await node.objects.find(VIRTUAL_MACHINE, *WEB)
    assert domain is not None
    assert machine is not None
    by = ActiveOperation(op_uid, OperationType.STOP, True, "stop")
    instances = Instances(node.context)
    ends = _Ends(node.context, instances, Fence(node.context))
    if operation == "in progress":
        await ends.stop(machine, machine, domain, Dependencies(), force=True, by=by)
    else:
        with pytest.raises(TemporaryError):
            await ends.stop(machine, machine, domain, Dependencies(), force=True, by=by)
    assert await runs(node, uid) is (operation != "in progress")


class _Ends(Shutdown):
    """Without the status, which needs a whole machine."""

    async def stop(self, before: Any, machine: Any, domain: Any, found: Any, *, force: bool, by: Any) -> Any:
        warrant = await self._require_end(machine, domain, by)
        return await self._end_domain(machine, domain, warrant, force=force)
