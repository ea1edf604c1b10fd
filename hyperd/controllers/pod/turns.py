"""Whose turn it is to have a Pod where its guest is to go: two of each node, and a few of the cluster.

Such a Pod takes room, so it is made no sooner than its guest may go soon, as the reference has it. One for which
no node has room takes none, and nobody's turn. Who has a turn is read from operations, machines and Pods; what is
remembered is only what these do not show yet, and whom to wake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.machine import holding
from hyperd.controllers.machine.operations import index_operations, is_moving, of_machine
from hyperd.controllers.ownership import machine_node
from hyperd.controllers.pod import manifest, reading
from hyperd.resources.all import NODE, POD, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.values import meta
from hyperd.runtime.controller import Key

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

OF_NODE: Final = 2
"""Guests that leave one node, on their way or about to be."""
FEWEST: Final = 2
"""Guests that may be on their way in a cluster, however small it is."""
_FULL: Final = ", which is as many as may be."
_INDEX: Final = "two-pods"
_YES: Final = "yes"


class Turns:
    """Of all machines; the leader's."""

    def __init__(self, context: Context) -> None:
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._pods = context.informer(POD)
        self._nodes = context.informer(NODE)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        index_operations(self._operations)
        self._machines.add_index(_INDEX, lambda machine: [_YES] if _has_two(machine) else [])
        self._given: dict[str, Key] = {}
        """Machines that have a turn, by the operation's uid."""
        self._waiting: dict[Key, None] = {}
        """Machines that wait for one, the longest first."""

    def take(self, machine: VirtualMachine, op: VirtualMachineOperation) -> str:
        """Have it be the machine's turn; why that is not so yet, as a sentence."""
        uid, key, leaves = meta.uid(op), Key(*meta.key(machine)), machine_node(machine)
        going = list(self._leaving(besides=uid))
        why = ""
        if going.count(leaves) >= OF_NODE:
            why = f"{OF_NODE} guests of node {leaves} are on their way or about to be{_FULL}"
        elif len(going) >= (most := self._most()):
            why = f"{most} guests in the cluster are on their way or about to be{_FULL}"
        if why:
            self._waiting.setdefault(key)
        else:
            self._waiting.pop(key, None)
            self._given[uid] = key
        return why

    def give_back(self, op: VirtualMachineOperation) -> None:
        """No Pod could be made."""
        self._given.pop(meta.uid(op), None)

    def pass_on(self, machine: VirtualMachine, op: VirtualMachineOperation | None) -> Sequence[Key]:
        """Machines to look at, as it is no longer the turn of ``machine``, which ``op`` moves."""
        key = Key(*meta.key(machine))
        if op is None:
            self._waiting.pop(key, None)
        elif self._has_turn(machine, op):
            self._given[meta.uid(op)] = key
        over = [
            uid
            for uid, other in self._given.items()
            if other == key and (op is None or uid != meta.uid(op) or not self._has_turn(machine, op))
        ]
        for uid in over:
            del self._given[uid]
        if not over:
            return ()
        for gone in [one for one in self._waiting if self._machines.get(*one) is None]:
            del self._waiting[gone]
        return list(self._waiting)[: self._most()]

    def _most(self) -> int:
        return max(FEWEST, len(self._nodes))

    def _leaving(self, *, besides: str) -> Iterator[str]:
        """The node that each guest leaves whose turn it is."""
        shown = [Key(item.namespace, item.name) for item in self._machines.by_index(_INDEX, _YES)]
        for key in dict.fromkeys([*shown, *self._given.values()]):
            if (machine := self._machines.get(*key)) is None:
                continue
            for op in of_machine(self._operations, *key):
                if is_moving(op) and meta.uid(op) != besides and self._has_turn(machine, op):
                    yield machine_node(machine)

    def _has_turn(self, machine: VirtualMachine, op: VirtualMachineOperation) -> bool:
        uid, record = meta.uid(op), holding.read(machine)
        if record.to and record.operation == uid:
            return True
        name = manifest.pod_name(machine, operation=uid)
        if name == manifest.current_pod_name(machine):
            return False  # it has come
        pod = self._pods.get(machine["metadata"]["namespace"], name)
        return uid in self._given if pod is None else not reading.is_unschedulable(pod)


def _has_two(machine: VirtualMachine) -> bool:
    """Whether the machine's status tells of a Pod besides the one that has its guest."""
    pods = (machine.get("status") or {}).get("virtualMachinePods") or ()
    return bool(holding.read(machine).to) or not all(pod.get("active") for pod in pods)


def are_full(why: str) -> bool:
    """Whether a guest waits for its turn, by what ``take`` said."""
    return why.endswith(_FULL)
