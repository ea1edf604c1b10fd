"""No guest is started or ended by a record from before it; one from before there were records is adopted."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hyperd.controllers.machine import elsewhere
from hyperd.controllers.machine.controller import MachineController
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.holders import holder
from hyperd.controllers.machine.holding import Act
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.power import Action, Decision
from hyperd.controllers.machine.startup import Startup
from hyperd.errors import Conflict, ServiceUnavailable, TemporaryError
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.runtime.controller import Key
from tests.unit.controllers.sweeping import HERE, Host, host

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

WEB = Key("default", "web")


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(elsewhere, "_DOUBT_SECONDS", 0.0)
    async with host(tmp_path) as made:
        yield made


async def domain_of(node: Host, uid: str) -> DomainInfo:
    domain = await node.hypervisor.info(uid)
    assert domain is not None
    return domain


async def machine(node: Host) -> VirtualMachine:
    found = await node.context.store.find(VIRTUAL_MACHINE, *WEB)
    assert found is not None
    return found


def hangs(node: Host, uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its QEMU answers nothing; libvirt can end it."""
    mark = node.hypervisor.mark

    async def answers_once_ended(domain: DomainInfo) -> None:
        found = await node.hypervisor.info(uid)
        if found is not None and found.active:
            raise ServiceUnavailable(f"mark domain {uid}: an earlier call still waits for it")
        await mark(domain)

    monkeypatch.setattr(node.hypervisor, "mark", answers_once_ended)


async def stands(
    node: Host, uid: str, *, epoch: int, record: Object | None, bound: str = HERE, **more: object
) -> None:
    """A guest that carries ``epoch``, and what the store says of its machine."""
    if epoch:
        await node.hypervisor.mark(replace(await domain_of(node, uid), epoch=epoch))
    status = {"nodeName": bound, **({"holder": record} if record else {})}
    refs = [{"kind": "VirtualDisk", "name": "web"}]
    node.objects.put(VIRTUAL_MACHINE, "web", uid, status=status, spec={"blockDeviceRefs": refs, **more})
    await node.sync()


async def look(node: Host, times: int = 4) -> None:
    controller = MachineController(node.context, node.placement)
    for _ in range(times):
        await controller.reconcile(WEB)
        await node.sync()
    await controller.close()


async def test_a_guest_from_before_there_were_records_is_adopted_untouched(node: Host) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=0, record=None)
    before = await domain_of(node, uid)
    stored, domain = await Fence(node.context).hold(await machine(node), before)
    assert stored["status"]["holder"] == (await machine(node))["status"]["holder"] == {"epoch": 1, "node": HERE}
    assert domain == await domain_of(node, uid) == replace(before, epoch=1)
    again = await Fence(node.context).hold(stored, domain)
    assert again == (stored, domain), "once"


async def test_a_record_whose_domain_was_not_told_yet_is_told_it_later(node: Host) -> None:
    """As after a crash between the two."""
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=0, record={"epoch": 1, "node": HERE})
    stored, domain = await Fence(node.context).hold(await machine(node), await domain_of(node, uid))
    assert stored["status"]["holder"]["epoch"] == 1
    assert domain is not None
    assert (domain.epoch, domain.active) == (1, True)


@pytest.mark.parametrize("record", [None, {"epoch": 1, "node": HERE}])
async def test_a_guest_that_hangs_untold_can_be_deleted(
    node: Host, monkeypatch: pytest.MonkeyPatch, record: Object | None
) -> None:
    """As after an upgrade from before there were records."""
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=0, record=record, terminationGracePeriodSeconds=0)
    node.objects.mark_deleted(VIRTUAL_MACHINE, "web")
    await node.sync()
    hangs(node, uid, monkeypatch)
    await look(node)
    assert await node.hypervisor.info(uid) is None


async def test_a_guest_that_hangs_is_told_who_has_it_once_it_ended(
    node: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=1, record={"epoch": 2, "node": "other"}, bound="other")
    hangs(node, uid, monkeypatch)
    await look(node)
    domain = await domain_of(node, uid)
    assert (domain.active, domain.epoch) == (False, 2)


async def test_what_ended_before_another_node_took_it_is_told_then(node: Host) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=1, record={"epoch": 1, "node": HERE}, bound="other")
    await look(node)
    domain = await domain_of(node, uid)
    assert (domain.active, domain.epoch) == (False, 1), "bound anew by hand, nobody has taken it yet"
    await stands(node, uid, epoch=0, record={"epoch": 2, "node": "other"}, bound="other")
    await look(node, 1)
    await stands(node, uid, epoch=0, record={"epoch": 1, "node": HERE})
    node.told.events.clear()
    await look(node)
    domain = await domain_of(node, uid)
    assert (domain.active, domain.epoch) == (False, 2)
    assert [reason for reason, _ in node.told.events] == ["HolderOutdated"]


async def test_a_machine_that_vanished_before_its_start_is_not_started(
    node: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, _ = await node.make("web")
    record = {"epoch": 1, "node": HERE}
    await stands(node, uid, epoch=1, record=record, cpu={"cores": 1}, memory={"size": "128Mi"})
    await node.hypervisor.destroy(uid)
    before, domain = await machine(node), await domain_of(node, uid)
    instances = Instances(node.context)
    started: list[str] = []
    monkeypatch.setattr(instances, "start", lambda *_, **__: started.append(uid))
    starts = Startup(node.context, instances, Fence(node.context), node.placement, started=started.append)
    node.objects.drop(VIRTUAL_MACHINE, "web")
    with pytest.raises(TemporaryError):
        await starts._start_claimed(before, copy.deepcopy(before), domain, Dependencies(), Decision(Action.START))
    assert not started


async def test_a_node_that_has_another_name_by_now_takes_its_machines_again(node: Host) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=1, record={"epoch": 1, "node": "old-name"})
    stored, domain = await Fence(node.context).hold(await machine(node), await domain_of(node, uid))
    assert stored["status"]["holder"] == {"epoch": 2, "node": HERE}
    assert domain is not None
    assert (domain.epoch, domain.active) == (2, True)


@pytest.mark.parametrize("bound", [HERE, "other"])
async def test_a_record_from_before_the_guest_is_refused_and_said_once(node: Host, bound: str) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=2, record={"epoch": 1, "node": bound}, bound=bound)
    before, held = await machine(node), await node.held()
    await look(node)
    assert await node.held() == held
    assert (await domain_of(node, uid)).epoch == 2
    assert (await machine(node))["status"] == before["status"]
    ((reason, message),) = [event for event in node.told.events if event[0].startswith("Holder")]
    assert reason == "HolderOutdated"
    assert "default/web (epoch 1) is older than its domain on node metal (epoch 2)" in message
    assert "hv gc accept" in message
    assert node.network.served == {uid}, "its guest keeps its address"


async def test_an_administrator_who_accepts_the_store_ends_the_refusal(node: Host) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=2, record={"epoch": 1, "node": "other"}, bound="other")
    await look(node)
    assert (await domain_of(node, uid)).active
    await node.sweeper.accept()
    assert (await machine(node))["status"]["holder"] == {"epoch": 3, "node": "other"}
    await node.sync()
    await look(node)
    domain = await domain_of(node, uid)
    assert not domain.active
    assert domain.epoch == 3, "what is left here knows who has it"


async def test_a_guest_that_was_given_away_is_not_started_by_an_earlier_record(node: Host) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=1, record={"epoch": 2, "node": "other"}, bound="other")
    await look(node)
    assert not (await domain_of(node, uid)).active
    node.told.events.clear()
    await stands(node, uid, epoch=0, record={"epoch": 1, "node": HERE})
    await look(node)
    assert not (await domain_of(node, uid)).active
    assert [reason for reason, _ in node.told.events] == ["HolderOutdated"]


@pytest.mark.parametrize("epoch", [0, 4])
async def test_what_lost_its_binding_is_taken_back_above_the_guests_epoch(node: Host, epoch: int) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=epoch, record=None, bound="")
    await look(node, 1)
    status = (await machine(node))["status"]
    assert status == {"nodeName": HERE, "holder": {"epoch": epoch + 1, "node": HERE}}


async def test_what_lost_its_binding_is_left_to_who_held_it_last(node: Host) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=1, record={"epoch": 2, "node": "other"}, bound="")
    await look(node)
    assert "nodeName" not in {key for key, value in (await machine(node))["status"].items() if value}
    assert (await domain_of(node, uid)).active


async def test_a_warrant_is_given_by_the_store_alone(node: Host) -> None:
    uid, _ = await node.make("web")
    record = {"epoch": 1, "node": HERE}
    await stands(node, uid, epoch=1, record=record)
    fence, seen, domain = Fence(node.context), await machine(node), await domain_of(node, uid)
    assert (await fence.require(seen, Act.END, domain)).uid == uid
    with pytest.raises(TemporaryError):
        await fence.require(seen, Act.YIELD, domain)
    await stands(node, uid, epoch=1, record=record, bound="other")
    with pytest.raises(TemporaryError):
        await fence.require(seen, Act.END, domain)  # the copy is older than the store
    with pytest.raises(TemporaryError):
        await fence.require(await machine(node), Act.END, domain)
    with pytest.raises(TemporaryError):
        await fence.require(await machine(node), Act.START, None)


async def test_nothing_is_emptied_and_no_volume_removed_by_a_record_from_before(node: Host) -> None:
    uid, disk_uid = await node.make("web")
    await stands(node, uid, epoch=2, record={"epoch": 1, "node": "other"}, bound="other")
    await node.sweeper.sweep()
    assert uid in node.noted()
    with pytest.raises(Conflict, match="hv gc accept"):
        await node.sweeper.empty([uid])
    assert (await domain_of(node, uid)).active
    disk = await node.context.store.find(VIRTUAL_DISK, *WEB)
    assert disk is not None
    assert disk["metadata"]["uid"] == disk_uid
    assert "not certain which node has the guest" in await holder(node.context, disk)
