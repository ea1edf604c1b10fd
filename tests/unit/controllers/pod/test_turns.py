"""Guests that are all to go have Pods elsewhere one after the other: a few of a node, and of the cluster."""

from __future__ import annotations

from types import SimpleNamespace

from hyperd.controllers.machine.operations import is_moving
from hyperd.controllers.migration.parts import waits
from hyperd.controllers.operation.moving import Moving
from hyperd.controllers.pod.manifest import pod_name
from hyperd.resources.all import NODE, POD, VIRTUAL_MACHINE, VIRTUAL_MACHINE_CLASS, VIRTUAL_MACHINE_OPERATION
from hyperd.runtime.controller import Key, Result
from tests.parts import Part, part
from tests.unit.controllers.pod.cluster import Cluster
from tests.unit.controllers.pod.machines import class_
from tests.unit.controllers.pod.test_controller import new_machine

NODES = ("metal", "wood", "stone")
_OF_NODE = "2 guests of node metal are on their way or about to be, which is as many as may be."
_OF_CLUSTER = "3 guests in the cluster are on their way or about to be, which is as many as may be."


class Herd(Cluster):
    """Machines vm-0, vm-1 and so on of the nodes ``homes``, each with an operation that moves its guest."""

    def __init__(self, *homes: str) -> None:
        super().__init__()
        self.put(VIRTUAL_MACHINE_CLASS, {**class_(), "status": {"phase": "Ready"}})
        for name in NODES:
            self.put(NODE, {"metadata": {"name": name}})
        self.count = len(homes)
        for number, home in enumerate(homes):
            vm = new_machine()
            vm["metadata"].update(name=f"vm-{number}", uid=f"uid-{number}")
            vm["status"] = {"phase": "Running", "nodeName": home, "holder": {"epoch": 1, "node": home}}
            self.put(VIRTUAL_MACHINE, vm)
            owner = {"uid": vm["metadata"]["uid"], "controller": True}
            labels = {"virtualization.deckhouse.io/virtual-machine-uid": vm["metadata"]["uid"]}
            meta = {"namespace": "shop", "name": pod_name(vm), "uid": f"first-{number}", "labels": labels}
            pod: Part = {"metadata": {**meta, "ownerReferences": [owner]}, "spec": {"nodeName": home}}
            self.put(POD, {**pod, "status": {"phase": "Running"}})
            self.ask(number)

    def ask(self, number: int, phase: str = "InProgress") -> None:
        meta = {"namespace": "shop", "name": f"op-{number}", "uid": f"op-{number}"}
        spec = {"type": "Evict", "virtualMachineName": f"vm-{number}"}
        self.put(VIRTUAL_MACHINE_OPERATION, {"metadata": meta, "spec": spec, "status": {"phase": phase}})

    async def see(self, number: int) -> Result | None:
        return await self.controller.reconcile(Key("shop", f"vm-{number}"))

    async def see_all(self) -> None:
        for number in range(self.count):
            await self.see(number)

    def vm(self, number: int) -> Part:
        return self.objects[VIRTUAL_MACHINE, "shop", f"vm-{number}"]

    def second(self, number: int) -> Part:
        name = pod_name(self.vm(number), operation=f"op-{number}")
        return self.objects.get((POD, "shop", name))

    def going(self) -> list[int]:
        return [number for number in range(self.count) if self.second(number) is not None]

    def woken(self) -> list[int]:
        keys = {number: Key("shop", f"vm-{number}") for number in range(self.count)}
        return [number for number, key in keys.items() if self.controller.queue.busy(key)]

    def why(self, number: int) -> str:
        found = [one for one in self.vm(number)["status"]["conditions"] if one["type"] == "Migrating"]
        return found[0]["message"] if found else ""

    def schedule_second(self, number: int, node: str) -> None:
        condition = {"type": "PodScheduled", "status": "True" if node else "False", "message": "Insufficient cpu"}
        status = {"phase": "Running" if node else "Pending", "conditions": [condition]}
        pod = self.second(number)
        spec = {**pod["spec"], **({"nodeName": node} if node else {})}
        self.put(POD, {**pod, "spec": spec, "status": status})

    async def move(self, number: int, node: str) -> None:
        """The guest is there, and its operation says so."""
        pods = [{"name": self.second(number)["metadata"]["name"], "active": True}]
        status = {**self.vm(number)["status"], "nodeName": node, "virtualMachinePods": pods}
        self.put(VIRTUAL_MACHINE, {**self.vm(number), "status": {**status, "holder": {"epoch": 2, "node": node}}})
        self.ask(number, "Completed")
        await self.see(number)


async def test_two_of_a_node_have_pods_and_the_others_once_those_have_gone() -> None:
    herd = Herd("metal", "metal", "metal", "metal")
    await herd.see_all()
    assert herd.going() == [0, 1]
    assert herd.why(2) == herd.why(3) == _OF_NODE
    assert herd.woken() == []
    herd.schedule_second(0, "wood")
    await herd.see(0)
    assert herd.woken() == []
    await herd.move(0, "wood")
    assert herd.woken() == [2, 3]
    await herd.see(2)
    await herd.see(3)
    assert herd.going() == [0, 1, 2]
    assert herd.why(2) == ""
    assert herd.why(3) == _OF_NODE


async def test_as_many_of_a_cluster_have_pods_as_it_has_nodes() -> None:
    herd = Herd("metal", "wood", "metal", "stone", "wood")
    await herd.see_all()
    assert herd.going() == [0, 1, 2]
    assert herd.why(3) == herd.why(4) == _OF_CLUSTER
    herd.ask(1, "Failed")
    await herd.see(1)
    assert set(herd.woken()) >= {3, 4}
    await herd.see(3)
    assert herd.why(3) == ""


async def test_one_that_no_node_takes_is_in_nobodys_way() -> None:
    herd = Herd("metal", "metal", "metal")
    await herd.see_all()
    herd.schedule_second(1, "")
    await herd.see(1)
    assert herd.woken() == [2]
    await herd.see(2)
    assert herd.going() == [0, 1, 2]


async def test_one_that_is_refused_is_in_nobodys_way() -> None:
    herd = Herd("metal", "metal", "metal")
    for number in range(3):
        herd.ask(number, "Failed")
        await herd.see(number)  # which has its budget then
        herd.ask(number)
    herd.refusal = "exceeded quota: little"
    await herd.see(0)
    await herd.see(1)
    herd.refusal = ""
    await herd.see(2)
    await herd.see(1)
    assert herd.going() == [1, 2]


async def test_turns_are_the_same_for_another_leader_and_while_its_view_is_behind() -> None:
    herd = Herd("metal", "metal", "metal")
    await herd.see(0)
    await herd.see(0)  # as its Pod was made
    herd.hidden = True
    await herd.see(1)
    await herd.see(2)
    assert herd.second(2) is None, "what was made a moment ago counts"
    herd.hidden = False
    herd.show()
    await herd.see(1)
    other = Herd()
    other.objects, other.count = herd.objects, herd.count
    for kind in (VIRTUAL_MACHINE_CLASS, NODE, VIRTUAL_MACHINE, POD, VIRTUAL_MACHINE_OPERATION):
        other.informer(kind)
    other.show()
    await other.see(2)
    assert other.second(2) is None
    await other.see(0)
    await other.move(0, "wood")
    await other.see(2)
    assert other.second(2) is not None


async def test_the_operation_is_pending_meanwhile_and_never_fails_by_it() -> None:
    herd = Herd("metal", "metal", "metal")
    await herd.see_all()
    stage = waits(herd.vm(2), None)
    assert stage is not None
    assert (stage.reason, stage.percent, stage.message) == ("MigrationPending", 0, _OF_NODE)
    op = herd.objects[VIRTUAL_MACHINE_OPERATION, "shop", "op-2"]
    assert not Moving(part(SimpleNamespace(stage=lambda *_: stage))).judge(part(op), part(herd.vm(2)))
    assert (op["status"]["phase"], op["status"]["progress"]) == ("Pending", "0%")
    assert is_moving(part(op)), "it goes on"
