"""Whatever a migration ends by, both nodes are looked at, and one of them has the guest."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, held, holding
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.migration import departing, parts
from hyperd.controllers.migration.departing import Departures
from hyperd.controllers.migration.interface import Stage
from hyperd.controllers.ownership import NodeOwner
from hyperd.controllers.pod.manifest import current_pod_name, pod_name
from hyperd.errors import TemporaryError
from hyperd.hypervisor.state import DomainInfo, DomainState, Transfer
from hyperd.network.connections import Connection
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values import names
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item, PatchType
from tests.parts import Part, part
from tests.unit.controllers.pod.machines import UID, machine

OPERATION = "9b1c54f0-2f7d-4c1e-8f52-0c6a3e1d2b4f"
BEGUN = Connection(6, IPv4Address("10.1.0.1"), 1024, IPv4Address("10.66.10.2"), 80)
DISK = "1d6f0a33-58f5-4f54-9a86-0e7f6b1c2d3e"
_DEVICES = held.decode([{"kind": "VirtualDisk", "name": "root", "uid": DISK}])
_RUNNING = DomainInfo(
    UID, "shop", "web", 1, applied.Applied(devices=_DEVICES).encode(), DomainState.RUNNING, "booted", True, epoch=3
)


class Nodes:
    """The node "here", whose guest is on its way to the node "there"; as hypervisor, neighbour and store."""

    def __init__(self) -> None:
        self.here: DomainInfo | None = _RUNNING
        self.there: str | None = "paused"
        """None: it does not answer."""
        self.done: list[str] = []
        self.begun = [BEGUN]
        self.fault: Exception | None = None
        """What asking for the connections raises where there are none; None: it never ends."""
        self.jobs = 0
        """So many looks see a migration go on."""
        record = holding.shown(holding.Record(3, "here", "there", OPERATION))
        first = {"name": pod_name(machine()), "active": True}
        self.machine: Part = machine()
        self.machine["metadata"]["resourceVersion"] = "1"
        self.machine["status"] = {
            "phase": "Migrating",
            "nodeName": "here",
            "holder": record,
            "ipAddress": "10.66.10.2",
            "virtualMachinePods": [first],
            "migrationState": {
                "source": {"node": "here", "pod": first["name"]},
                "target": {"node": "there", "pod": pod_name(machine(), operation=OPERATION)},
                "result": "",
            },
        }
        self.disk: Part = {
            "metadata": {
                "name": "root",
                "namespace": "shop",
                "uid": DISK,
                "resourceVersion": "1",
                "annotations": {names.SELECTED_NODE_ANNOTATION: "here"},
            }
        }
        self.migrations = self
        context = SimpleNamespace(
            node_name="here",
            store=self,
            hypervisor=self,
            network=self,
            events=self,
            ownership=NodeOwner("here", lambda: False),
            informer=lambda kind: Informer(part(self), kind),
        )
        given = cast(Context, context)
        self.departures = Departures(given, Fence(given), part(self))

    async def decide(self, why: str = "It broke.") -> None:
        await self.departures._decide(copy.deepcopy(self.machine), holding.read(self.machine), why)

    # As the hypervisor here

    async def info(self, uid: str) -> DomainInfo | None:
        return self.here

    async def progress(self, uid: str) -> Transfer | None:
        self.jobs -= 1
        return Transfer(1, 0, 1) if self.jobs >= 0 else None

    async def abort(self, uid: str) -> None:
        self.done.append("abort")

    async def resume(self, uid: str) -> None:
        assert self.here is not None
        self.done.append("resume here")
        self.here = replace(self.here, state=DomainState.RUNNING)

    async def mark(self, domain: DomainInfo) -> None:
        self.here = domain

    # As the node there

    async def ask(self, node: str, uid: str, verb: str, body: Object) -> Object:
        assert (node, uid, body["operation"], body["from"]) == ("there", UID, OPERATION, "here")
        if self.there is None:
            raise TemporaryError("The hyperd of node there cannot be reached.")
        if verb == "look":
            return {"state": self.there}
        self.done.append(f"{verb} there")
        if verb == "go-on":
            assert body["connections"] == [one.encode() for one in self.begun]
        assert verb != "go-on" or self.here is None or not self.here.active, "two would run"
        assert verb != "go-on" or self.there == "paused", "half a guest would run"
        self.there = "running" if verb == "go-on" else "absent"
        return {}

    # As network and recorder

    async def connections(self, uid: str) -> list[Connection]:
        if self.begun:
            return self.begun
        if self.fault is None:
            await asyncio.Event().wait()
        raise self.fault or AssertionError

    async def disconnect(self, uid: str) -> None:
        self.done.append("unlink")

    def event(self, obj: Part, level: str, reason: str, message: str) -> None:
        self.done.append(f"{reason}: {message}")

    # As the store

    async def find(self, kind: Kind, namespace: str, name: str) -> Part:
        return copy.deepcopy(self.machine if kind is VIRTUAL_MACHINE else self.disk)

    async def update(self, kind: Kind, namespace: str, name: str, obj: Part, *, subresource: str) -> Item:
        self.machine = copy.deepcopy(obj)
        return Item.of(obj)

    async def patch(self, kind: Kind, namespace: str, name: str, _: PatchType, patch: Any) -> Item:
        assert kind is VIRTUAL_DISK
        assert holding.read(self.machine).to, "its disks are handed over before the machine is"
        self.disk["metadata"]["annotations"].update(patch["metadata"]["annotations"])
        return Item.of(self.disk)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    monkeypatch.setattr(departing, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(departing, "_AGAIN_SECONDS", 0.0)
    return Nodes()


def off(nodes: Nodes) -> None:
    nodes.here = replace(_RUNNING, state=DomainState.SHUTOFF, reason="migrated")


async def test_a_guest_that_is_off_here_goes_on_there(nodes: Nodes) -> None:
    off(nodes)
    await nodes.decide()
    assert nodes.there == "running"
    status = nodes.machine["status"]
    assert holding.read(nodes.machine) == holding.Record(4, "there")
    assert (status["nodeName"], status["phase"]) == ("there", "Running")
    assert current_pod_name(nodes.machine) == pod_name(nodes.machine, operation=OPERATION)
    assert [pod["active"] for pod in status["virtualMachinePods"]] == [True, False]
    assert status["migrationState"]["result"] == "Succeeded"
    assert nodes.disk["metadata"]["annotations"][names.SELECTED_NODE_ANNOTATION] == "there"
    assert nodes.here is not None
    assert applied.decode(nodes.here.applied).departed == OPERATION
    assert nodes.done[0] == "go-on there"
    assert nodes.done[-1] == "unlink"


@pytest.mark.parametrize("fault", [TypeError("no state"), TemporaryError("No such place."), None])
async def test_no_trouble_with_its_connections_keeps_it_stopped(
    nodes: Nodes, fault: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_CONNECTIONS_SECONDS", 0.05)
    off(nodes)
    nodes.begun, nodes.fault = [], fault
    async with asyncio.timeout(10):
        await nodes.decide()
    assert nodes.there == "running"
    assert holding.read(nodes.machine) == holding.Record(4, "there")


@pytest.mark.parametrize("there", ["paused", "absent", None])
async def test_a_guest_that_lives_here_stays(nodes: Nodes, there: str | None) -> None:
    """Also where the other node cannot be asked: there it is stopped, and goes on at this node's word alone."""
    nodes.there = there
    await nodes.decide("It was cancelled.")
    assert nodes.there in ("absent", None)
    assert holding.read(nodes.machine) == holding.Record(3, "here")
    assert nodes.machine["status"]["migrationState"]["result"] == "Failed"
    assert nodes.machine["status"]["nodeName"] == "here"
    assert nodes.disk["metadata"]["annotations"][names.SELECTED_NODE_ANNOTATION] == "here"
    why = "It was cancelled. The guest stays on node here."
    assert nodes.done[-1] == f"Failed: The virtual machine was not migrated to node there: {why}"
    assert nodes.departures.stage(OPERATION) == Stage("Failed", 0, why, failed=True)


async def test_one_that_was_stopped_on_its_way_goes_on_here_once_it_is_gone_there(nodes: Nodes) -> None:
    nodes.here = replace(_RUNNING, state=DomainState.PAUSED, reason="migration")
    await nodes.decide()
    assert nodes.done[:2] == ["cancel there", "resume here"]


async def test_what_still_goes_on_is_ended_first(nodes: Nodes) -> None:
    nodes.jobs = 2
    await nodes.decide()
    assert nodes.done[:3] == ["abort", "abort", "cancel there"]


async def test_nothing_is_decided_of_a_guest_that_is_off_here_until_the_other_node_is_seen(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    off(nodes)
    nodes.there, looks = None, 0
    first = nodes.ask

    async def ask(*given: Any) -> Object:
        nonlocal looks
        looks += 1
        assert holding.read(nodes.machine).to == "there"
        if looks == 4:
            nodes.there = "paused"
        return await first(*given)

    monkeypatch.setattr(nodes, "ask", ask)
    await nodes.decide()
    assert nodes.there == "running"
    assert holding.read(nodes.machine).node == "there"


@pytest.mark.parametrize(
    ("error", "told"),
    [(TemporaryError("It is root's."), "It is root's."), (KeyError("x"), "hyperd's log says why not.")],
)
async def test_why_a_guest_that_is_off_on_both_nodes_does_not_go_on_is_told(
    nodes: Nodes, error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    off(nodes)
    first, refused = nodes.ask, 0

    async def ask(*given: Any) -> Object:
        nonlocal refused
        if given[2] == "go-on" and (refused := refused + 1) < 4:
            if refused > 1:
                assert nodes.departures.stage(OPERATION) == Stage("SourceSuspended", 91, told)
            raise error
        return await first(*given)

    monkeypatch.setattr(nodes, "ask", ask)
    await nodes.decide()
    assert (refused, nodes.there) == (4, "running")


async def test_a_guest_that_ended_on_both_is_this_nodes_to_start_anew(nodes: Nodes) -> None:
    nodes.here, nodes.there = None, "absent"
    await nodes.decide()
    assert holding.read(nodes.machine) == holding.Record(3, "here")
    assert "go-on there" not in nodes.done


async def test_what_is_decided_stands_whatever_is_seen_here(nodes: Nodes) -> None:
    off(nodes)
    seen = copy.deepcopy(nodes.machine)
    nodes.machine["status"]["holder"] = holding.shown(holding.Record(4, "there"))
    before = copy.deepcopy(nodes.machine)
    await nodes.departures._carry(seen)
    assert nodes.done == []
    assert nodes.machine == before


@pytest.mark.parametrize("result", ["Succeeded", "Failed"])
async def test_what_has_ended_is_not_begun_again(nodes: Nodes, result: str) -> None:
    """The node that a guest came to may see the operation later than the machine."""
    nodes.machine["status"]["holder"] = holding.shown(holding.Record(4, "here"))
    nodes.machine["status"]["migrationState"]["result"] = result
    op: Part = {"metadata": {"uid": OPERATION}, "spec": {"type": "Migrate"}}
    assert not await nodes.departures.begin(copy.deepcopy(nodes.machine), _RUNNING, op)
    assert nodes.departures.stage(OPERATION) is None


async def test_what_went_on_there_is_theirs_though_it_has_ended_since(nodes: Nodes) -> None:
    """The daemon was killed before it wrote that down; the disks over there are newer than those here."""
    off(nodes)
    nodes.there = "went-on"
    await nodes.decide()
    assert holding.read(nodes.machine) == holding.Record(4, "there")
    assert nodes.disk["metadata"]["annotations"][names.SELECTED_NODE_ANNOTATION] == "there"
    assert "go-on there" not in nodes.done
    assert "cancel there" not in nodes.done


async def test_half_a_guest_does_not_go_on(nodes: Nodes) -> None:
    """It died here while its memory was being sent."""
    off(nodes)
    nodes.there = "coming"
    await nodes.decide()
    assert nodes.done[0] == "cancel there"
    assert holding.read(nodes.machine) == holding.Record(3, "here")
    assert "go-on there" not in nodes.done


async def test_what_is_not_understood_decides_nothing(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    off(nodes)
    said: list[Object] = [{}, {"state": 7}, {"state": "dancing"}]
    first = nodes.ask

    async def ask(node: str, uid: str, verb: str, body: Object) -> Object:
        if said:
            assert verb == "look"
            return said.pop()
        return await first(node, uid, verb, body)

    monkeypatch.setattr(nodes, "ask", ask)
    await nodes.decide()
    assert not said
    assert holding.read(nodes.machine).node == "there"


async def test_a_guest_that_somebody_has_stopped_stays_stopped(nodes: Nodes) -> None:
    nodes.here = replace(_RUNNING, state=DomainState.PAUSED, reason="user")
    await nodes.decide()
    assert "resume here" not in nodes.done


async def test_whatever_sending_ends_by_somebody_has_the_guest(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(*_: object) -> None:
        raise KeyError("serial")

    monkeypatch.setattr(nodes.departures, "_send", send)
    monkeypatch.setattr(nodes.departures, "_operation", lambda *_: {"metadata": {"uid": OPERATION}})
    nodes.departures._begun[UID] = OPERATION
    await nodes.departures._carry(copy.deepcopy(nodes.machine))
    assert holding.read(nodes.machine) == holding.Record(3, "here")
    assert "hyperd failed at it" in nodes.done[-1]
