"""What policies and ``force`` make of a migration, and how many there may be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.machine import holding
from hyperd.controllers.migration.interface import Moves, Stage
from hyperd.controllers.migration.parts import ends, syncing
from hyperd.controllers.migration.rules import ClusterSlots, slows
from hyperd.controllers.operation.moving import Moving
from hyperd.controllers.pod.manifest import pod_name
from hyperd.errors import PermanentError
from hyperd.hypervisor.state import Transfer
from hyperd.resources.all import NODE, POD, VIRTUAL_MACHINE
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item
from tests.parts import Part
from tests.unit.controllers.pod.machines import machine

_NO_TARGET = "VirtualMachineNoMigrationTarget"
_SECONDS = "kubevirt.internal.virtualization.deckhouse.io/migrationUnschedulablePodTimeoutSeconds"
OPERATION = "9b1c54f0-2f7d-4c1e-8f52-0c6a3e1d2b4f"


@pytest.mark.parametrize("type_", ["Migrate", "Evict"])
@pytest.mark.parametrize(
    ("policy", "unset", "forced", "safe"),
    [
        ("AlwaysSafe", False, None, False),
        ("PreferSafe", False, True, False),
        ("PreferForced", True, True, False),
        ("AlwaysForced", True, True, None),
    ],
)
def test_policy_and_force_say_whether_a_guest_is_slowed_down(
    type_: str, policy: str, unset: bool | None, forced: bool | None, safe: bool | None
) -> None:
    """None: the operation fails."""
    vm = machine(liveMigrationPolicy=policy)
    vm["status"] = {"conditions": [{"type": "Migratable", "status": "True"}]}
    for force, slowed in ((None, unset), (True, forced), (False, safe)):
        op: Part = {"spec": {"type": type_, **({} if force is None else {"force": force})}}
        hindered = Moving(cast(Moves, SimpleNamespace())).hindered(op, vm)
        assert (hindered is not None) == (slowed is None)
        if hindered is None:
            assert slows(vm, op) is slowed
        else:
            assert hindered[0] == "NotApplicableForLiveMigrationPolicy"


def test_what_finds_no_node_ends_when_its_operation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which nodes there are for a guest is no reason to refuse a move: the scheduler says that of each."""
    vm, now, begun = machine(), [0.0], clock.elapsed()
    cannot = {"type": "Migratable", "status": "False", "reason": _NO_TARGET}
    vm["status"] = {"phase": "Running", "conditions": [cannot]}
    stage = Stage("TargetUnschedulable", 2, "No node is there.")
    moving = Moving(cast(Moves, SimpleNamespace(stage=lambda *_: stage)))
    monkeypatch.setattr(clock, "elapsed", lambda: begun + now[0])
    for seconds, longest in (("10", 10), ("", 300), ("soon", 300), ("999", 300)):
        known = {"uid": seconds, "annotations": {_SECONDS: seconds}}
        op: Part = {"metadata": known, "spec": {"type": "Migrate"}, "status": {}}
        assert moving.hindered(op, vm) is None
        assert not moving.judge(op, vm)
        now[0] += longest - 1
        assert not moving.judge(op, vm)
        now[0] += 2
        with pytest.raises(PermanentError, match="No node is there") as found:
            moving.judge(op, vm)
        assert found.value.key == "TargetUnschedulable"


def test_what_does_not_get_less_is_told() -> None:
    transfer = Transfer(total=1 << 30, processed=2 << 30, remaining=1 << 28, iteration=9, throttle=99)
    assert syncing(transfer).reason == "Syncing"
    told = syncing(transfer, converges=False)
    assert told.reason == "NotConverging"
    assert "AutoConvergeThrottle: 99%" in told.message


def test_as_many_guests_are_on_their_way_as_there_are_nodes_and_two_at_least() -> None:
    informers: dict[Any, Informer] = {kind: Informer(cast(Any, None), kind) for kind in (NODE, VIRTUAL_MACHINE)}
    slots = ClusterSlots(cast(Context, SimpleNamespace(informer=informers.__getitem__)))

    def put(number: int, to: str) -> None:
        vm = machine()
        vm["metadata"].update(name=f"vm-{number}", uid=f"uid-{number}", resourceVersion="2" if to else "1")
        vm["status"] = {"holder": holding.shown(holding.Record(1, "a", to, OPERATION if to else ""))}
        informers[VIRTUAL_MACHINE]._put(("shop", f"vm-{number}"), Item.of(vm))

    for number in range(4):
        put(number, "")
    put(0, "b")
    assert slots.none_free() == ""
    put(1, "b")
    assert slots.none_free().startswith("2 guests are on their way")
    for name in ("a", "b", "c"):
        node: Part = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "resourceVersion": "1"}}
        informers[NODE]._put(("", name), Item.of(node))
    assert slots.none_free() == ""
    put(2, "b")
    assert slots.none_free().startswith("3 guests are on their way")


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["gone", "ending", "finished"])
def test_a_pod_that_ends_is_told_of_while_its_guest_is_on_its_way(which: int, how: str) -> None:
    vm = machine()
    record = holding.Record(3, "here", "there", OPERATION)
    pods = Informer(cast(Any, None), POD)
    names = [pod_name(vm), pod_name(vm, operation=OPERATION)]
    made: list[Part] = [
        {"metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"}} for name in names
    ]
    for pod in made:
        pods._put(("shop", pod["metadata"]["name"]), Item.of(pod))
    assert ends(pods, vm, record) == ""
    if how == "gone":
        pods._remove(("shop", names[which]))
    else:
        made[which]["metadata"]["resourceVersion"] = "2"
        if how == "ending":
            made[which]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            made[which]["status"] = {"phase": "Succeeded"}
        pods._put(("shop", names[which]), Item.of(made[which]))
    assert ends(pods, vm, record) == f"Pod {names[which]}, {('in which it is', 'to which it goes')[which]}, ends."
