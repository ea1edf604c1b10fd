"""The leader takes machines from a node that is proven dead, and says what is known of one that is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hyperd.controllers.node import promise
from hyperd.controllers.pod.losses import Losses
from hyperd.resources.all import LEASE, NODE, POD, VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_CLASS
from hyperd.resources.values import names
from hyperd.store.interface import Item
from tests.parts import Part, part
from tests.unit.controllers.pod.cluster import Cluster
from tests.unit.controllers.pod.machines import class_
from tests.unit.controllers.pod.test_controller import disk, new_machine, scheduled, told

TAINT = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
SECONDS = 40.0
CERTAIN = promise.certain(promise.make(SECONDS, ("a",)), SECONDS)
NODES = ("leader", "metal", "wood")


class Silence(Cluster):
    """Three nodes, of which metal has the guest; time passes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.beats = 0
        self.losses._elapsed = lambda: self.now
        self.losses._forget()
        for name in NODES:
            self.node(name)
            self.beat(name)

    async def list(self, kind: Part, namespace: str, *, selector: Part) -> Part:
        found = [obj for (of, _, _), obj in self.objects.items() if of is kind]
        return part(SimpleNamespace(items=[Item.of(obj) for obj in found]))

    def node(self, name: str, *, ready: bool = True, taints: tuple[Part, ...] = ()) -> None:
        conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
        self.put(
            NODE,
            {"metadata": {"name": name}, "spec": {"taints": list(taints)}, "status": {"conditions": conditions}},
        )

    def beat(self, *nodes: str, promises: bool = False) -> None:
        """Their leases are renewed."""
        for name in nodes:
            self.beats += 1
            annotations = {names.LEASE_WORD_ANNOTATION: str(self.beats)}
            if promises:
                annotations[names.LEASE_PROMISE_ANNOTATION] = promise.make(SECONDS, NODES).encode()
            meta = {"name": f"node-{name}", "namespace": names.SYSTEM_NAMESPACE, "uid": name,
                    "labels": {names.NODE_LEASE_LABEL: name}, "annotations": annotations}  # fmt: skip
            self.put(LEASE, {"metadata": meta, "spec": {"leaseDurationSeconds": SECONDS, "renewTime": "now"}})

    async def passes(self, seconds: float, *beating: str) -> None:
        """While those nodes renew their leases."""
        until = self.now + seconds
        while self.now < until:
            self.now += 5
            self.beat(*beating)
            await self.losses.look()

    def gone(self) -> None:
        """The Pod is removed."""
        self.objects = {key: obj for key, obj in self.objects.items() if key[0] is not POD}
        self.show()


@pytest.fixture
async def silence() -> Silence:
    made = Silence()
    made.put(VIRTUAL_MACHINE_CLASS, {**class_(), "status": {"phase": "Ready"}})
    made.put(VIRTUAL_MACHINE, new_machine())
    await scheduled(made)
    made.set_machine(phase="Running", holder={"epoch": 4, "node": "metal"})
    await made.passes(10, *NODES)
    return made


def holder(cluster: Cluster) -> Any:
    return cluster.machine["status"]["holder"]


async def test_a_node_that_is_silent_is_told_of_and_nothing_is_taken(silence: Silence) -> None:
    await silence.passes(30, "leader", "wood")
    await silence.look()
    assert not silence.told
    silence.node("metal", ready=False)
    await silence.passes(600, "leader", "wood")
    await silence.look()
    assert told(silence)[:2] == ("Running", "NodeLost")
    assert "kubectl taint node metal node.kubernetes.io/out-of-service" in told(silence)[2]
    assert holder(silence) == {"epoch": 4, "node": "metal"}
    await silence.look()
    assert [reason for reason, _ in silence.told] == ["NodeLost"], "it is told once"


async def test_a_pod_or_a_node_that_is_gone_proves_nothing(silence: Silence) -> None:
    silence.gone()
    silence.objects.pop((NODE, "", "metal"))
    silence.show()
    await silence.passes(600, "leader", "wood")
    for _ in range(3):
        await silence.look()
    assert holder(silence) == {"epoch": 4, "node": "metal"}
    assert silence.pod is None


async def test_by_the_taint_it_begins_elsewhere_once_its_pod_is_gone(silence: Silence) -> None:
    await silence.passes(100, "leader", "wood")
    silence.node("metal", ready=False, taints=(TAINT,))
    await silence.passes(5, "leader", "wood")
    await silence.look()
    assert silence.pod["metadata"]["deletionTimestamp"]
    assert holder(silence)["epoch"] == 4
    silence.gone()
    await silence.look()
    assert holder(silence) == {"epoch": 5, "node": "metal", "lost": True}
    assert "nodeName" not in silence.machine["status"]
    assert told(silence)[:2] == ("Pending", "NodeLost")
    await scheduled(silence, "wood")
    assert silence.machine["status"]["nodeName"] == "wood"


@pytest.mark.parametrize("why", ["heard", "ready", "copy", "follower"])
async def test_a_taint_alone_takes_nothing(silence: Silence, why: str) -> None:
    silence.gone()
    beating = NODES if why == "heard" else ("leader", "wood")
    silence.node("metal", ready=why == "ready", taints=(TAINT,))
    await silence.passes(100, *beating)
    if why == "copy":
        silence.hidden = True
        silence.node("metal", ready=False)
    elif why == "follower":
        silence.context.ownership.leads = lambda: False
    for _ in range(3):
        await silence.look()
    assert holder(silence) == {"epoch": 4, "node": "metal"}


async def test_a_renewal_that_is_not_seen_yet_takes_nothing(silence: Silence) -> None:
    silence.gone()
    silence.node("metal", ready=False, taints=(TAINT,))
    await silence.passes(100, "leader", "wood")
    silence.beat("metal")
    await silence.look()
    assert holder(silence) == {"epoch": 4, "node": "metal"}


async def test_disks_of_that_node_alone_keep_it_waiting_for_the_node(silence: Silence) -> None:
    silence.put(VIRTUAL_DISK, disk("root", "metal"))
    silence.set_spec(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root"}])
    silence.gone()
    silence.node("metal", ready=False, taints=(TAINT,))
    await silence.passes(100, "leader", "wood")
    await silence.look()
    await silence.look()
    await silence.look()
    (term,) = silence.pod["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]  # fmt: skip
    assert term["matchFields"][0]["values"] == ["metal"]
    assert told(silence) == (
        "Pending",
        "PodNotStarted",
        "The disks are on node metal alone, which is not heard of: it starts there once the node is back.",
    )


async def test_a_deleted_machine_goes_with_its_dead_node(silence: Silence) -> None:
    silence.gone()
    silence.node("metal", ready=False, taints=(TAINT,))
    meta = {**silence.machine["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    silence.put(VIRTUAL_MACHINE, {**silence.machine, "metadata": meta})
    await silence.passes(100, "leader", "wood")
    await silence.look()
    await silence.look()
    assert not [kind for kind, _, _ in silence.objects if kind is VIRTUAL_MACHINE]


async def test_one_that_never_had_a_guest_is_let_go_as_well(silence: Silence) -> None:
    silence.set_machine(phase="Stopped")
    silence.machine["status"].pop("holder")
    silence.gone()
    silence.node("metal", ready=False, taints=(TAINT,))
    await silence.passes(100, "leader", "wood")
    await silence.look()
    assert holder(silence) == {"epoch": 1, "node": "metal", "lost": True}
    assert silence.machine["status"]["phase"] == "Stopped"
    assert "nodeName" not in silence.machine["status"]


async def test_a_guest_on_its_way_is_nobodys_to_take(silence: Silence) -> None:
    silence.set_machine(holder={"epoch": 4, "node": "metal", "to": "wood"}, phase="Migrating")
    silence.gone()
    silence.node("metal", ready=False, taints=(TAINT,))
    await silence.passes(100, "leader", "wood")
    await silence.look()
    assert holder(silence) == {"epoch": 4, "node": "metal", "to": "wood"}
    assert "until node metal is back" in told(silence)[2]


async def test_where_its_target_is_silent_that_is_told(silence: Silence) -> None:
    silence.set_machine(holder={"epoch": 4, "node": "metal", "to": "wood"}, phase="Migrating")
    await silence.passes(100, "leader", "metal")
    await silence.look()
    assert told(silence)[1] == "NodeLost"
    assert told(silence)[2].startswith("Node wood, to which the guest is on its way, is not heard of.")
    assert holder(silence) == {"epoch": 4, "node": "metal", "to": "wood"}


async def guarded(silence: Silence) -> None:
    silence.set_machine(holder={"epoch": 4, "node": "metal", "fenced": True})
    silence.beat("metal", promises=True)
    await silence.losses.look()
    silence.node("metal", ready=False)


async def test_by_its_watchdog_it_begins_elsewhere_once_that_is_certain(silence: Silence) -> None:
    await guarded(silence)
    await silence.passes(CERTAIN - 5, "leader", "wood")
    await silence.look()
    assert holder(silence)["epoch"] == 4
    assert "its watchdog ends the guest" in told(silence)[2]
    await silence.passes(5, "leader", "wood")
    await silence.look()
    assert holder(silence) == {"epoch": 5, "node": "metal", "lost": True}
    assert silence.pod, "nobody on that node says that it is gone"
    await silence.look()
    assert silence.pod is None
    await scheduled(silence, "wood")
    assert silence.machine["status"]["nodeName"] == "wood"


async def test_who_begins_to_lead_then_does_not_bind_it_to_the_dead_node_again(silence: Silence) -> None:
    await guarded(silence)
    await silence.passes(CERTAIN, "leader", "wood")
    await silence.look()
    assert holder(silence) == {"epoch": 5, "node": "metal", "lost": True}
    silence.losses._forget()
    for _ in range(6):
        await silence.look()
        assert "nodeName" not in silence.machine["status"]
        await silence.passes(5, "leader", "wood")
    assert silence.pod
    await silence.passes(15, "leader", "wood")
    await silence.look()
    assert silence.pod is None
    await scheduled(silence, "wood")
    assert silence.machine["status"]["nodeName"] == "wood"


async def test_what_is_taken_from_a_node_that_is_back_begins_in_its_pod(silence: Silence) -> None:
    await guarded(silence)
    await silence.passes(CERTAIN, "leader", "wood")
    await silence.look()
    silence.losses._forget()
    await silence.passes(15, *NODES)
    await silence.look()
    assert silence.pod
    assert silence.machine["status"]["nodeName"] == "metal"


@pytest.mark.parametrize("why", ["no majority", "not fenced", "no promise", "looked away"])
async def test_a_watchdog_is_not_believed_where_its_node_may_go_on(silence: Silence, why: str) -> None:
    await guarded(silence)
    if why == "not fenced":
        silence.set_machine(holder={"epoch": 4, "node": "metal"})
    if why == "no promise":
        silence.beat("metal")
    await silence.passes(CERTAIN - 10, "leader", "wood")
    if why == "no majority":
        await silence.passes(300, "leader")
        await silence.look()
        assert "Fencing needs 2 of 3 nodes, and 1 are heard of." in told(silence)[2]
        await silence.passes(CERTAIN - 5, "leader", "wood")
    elif why == "looked away":
        silence.now += 300
        silence.beat("leader", "wood")
        await silence.losses.look()
        await silence.passes(CERTAIN - 10, "leader", "wood")
    else:
        await silence.passes(600, "leader", "wood")
    await silence.look()
    assert holder(silence)["epoch"] == 4


async def test_who_begins_to_lead_waits_anew(silence: Silence) -> None:
    await guarded(silence)
    await silence.passes(CERTAIN - 10, "leader", "wood")
    silence.losses._forget()
    assert silence.losses.sight("metal") is None
    await silence.passes(CERTAIN - 5, "leader", "wood")
    await silence.look()
    assert holder(silence)["epoch"] == 4
    await silence.passes(10, "leader", "wood")
    await silence.look()
    assert holder(silence)["epoch"] == 5


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", '{"seconds": 1}', '{"seconds": 1, "electors": []}', '{"seconds": 1e9, "electors": ["a"]}',
     '{"seconds": "nan", "electors": ["a"]}', '{"seconds": 1, "electors": [1]}',
     '{"seconds": -1, "electors": ["a"]}',
     '{"seconds": 1, "electors": ["' + '","'.join("abcdefghijklmnopqrst") + '"]}'],
)  # fmt: skip
def test_a_promise_that_is_not_understood_is_none(text: str) -> None:
    assert promise.decode(text) is None


def test_what_is_promised_is_read_as_it_was_written() -> None:
    made = promise.make(40, [f"node-{number:03}" for number in range(100)])
    assert promise.decode(made.encode()) == made
    assert (len(made.electors), made.majority) == (15, 8)
    assert promise.certain(made, 40) > made.seconds > 40


def test_leases_are_looked_at_by_the_daemons_own_settings() -> None:
    assert isinstance(Silence().losses, Losses)
