"""What the leader does about machines of a silent node: it says what is known, and takes them once it is proven.

A machine that is taken has no node, and a record that says so under a new epoch: whatever is left of it on the
node ends by itself once the node is back, and another one takes it as any that has none. Its disks that are that
node's alone keep it waiting for the node.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.machine import holding
from hyperd.controllers.machine.holding import Record
from hyperd.controllers.machine.status import OF_AN_INSTANCE, set_phase
from hyperd.controllers.node.heartbeat import lease_name
from hyperd.controllers.ownership import machine_node
from hyperd.controllers.pod import loss, reading
from hyperd.controllers.pod.loss import Proof, Verdict
from hyperd.controllers.pod.losses import Losses, stamp
from hyperd.resources.all import LEASE, NODE, POD, VIRTUAL_MACHINE
from hyperd.resources.core.node import NodeConditionType
from hyperd.resources.kinds.virtual_machine_conditions import RunningReason, VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_status import MigrationResult, VirtualMachinePhase
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta
from hyperd.resources.values.conditions import ConditionStatus, is_true, remove_condition, set_condition
from hyperd.resources.values.meta import now_rfc3339
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.runtime.controller import Result
from hyperd.runtime.status import delete_this, update_status
from hyperd.store.interface import Write

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

_log = logging.getLogger(__name__)
_MOMENT_SECONDS: Final = 0.5
_AGAIN_SECONDS: Final = 10.0
_UNKNOWN_SECONDS: Final = 2.0
_AT_ONCE: Final = Write(at_once=True)
_WITHOUT_GUEST: Final = (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED)
_WHY: Final = {
    Proof.TAINT: f"has the taint {loss.OUT_OF_SERVICE}",
    Proof.FENCE: "was cut off for so long that its watchdog has ended the guest",
}


class Takeovers:
    """Of all machines; the leader's."""

    def __init__(self, context: Context, losses: Losses) -> None:
        self._context = context
        self._losses = losses

    async def look(self, machine: VirtualMachine, pods: Sequence[Object]) -> Result | None:
        """One step for a machine whose node is silent; None where nothing is done for that.

        ``pods`` are the machine's.
        """
        node, record = machine_node(machine), holding.read(machine)
        if not node:
            return await self._clear(record, pods) if record.lost else None
        if (sight := self._losses.sight(node)) is None:
            return None
        verdict = loss.judge(sight, fenced=record.fenced, to=record.to)
        if record.to and (target := self._losses.sight(record.to)) is not None and sight.heard:
            verdict = loss.arriving(sight, target)
        there = [pod for pod in pods if reading.node_of(pod) == node]
        if verdict.proof is Proof.TAINT and there:
            for pod in there:
                if not reading.is_ending(pod):
                    await delete_this(self._context.store, POD, pod)
            names = ", ".join(pod["metadata"]["name"] for pod in there)
            message = f"Node {node} is out of service; Kubernetes removes Pod {names} from it."
            verdict = Verdict(message=message)
        if verdict.proof is not None:
            return await self._take(machine, node, verdict.proof)
        if not verdict.message or machine["status"].get("phase") in _WITHOUT_GUEST:
            return None
        await self._tell(machine, verdict.message)
        return Result(min(_AGAIN_SECONDS, verdict.again or _AGAIN_SECONDS))

    def silent(self) -> Sequence[str]:
        """Nodes on which nobody would start a guest that begins now."""
        return self._losses.silent()

    def is_back(self, node: str) -> bool:
        """Whether the node's hyperd was heard of since this daemon leads."""
        sight = self._losses.sight(node)
        return sight is not None and sight.heard and sight.renewed

    def kept(self, node: str) -> str:
        """Why a machine waits whose disks only ``node`` has, while that is silent: a sentence, or nothing."""
        sight = self._losses.sight(node) if node else None
        if sight is None or sight.heard:
            return ""
        return f"The disks are on node {node} alone, which is not heard of: it starts there once the node is back."

    async def _tell(self, machine: VirtualMachine, message: str) -> None:
        after = copy.deepcopy(machine)
        type_, reason = VirtualMachineCondition.RUNNING, RunningReason.NODE_LOST
        if set_condition(after, type_, ConditionStatus.UNKNOWN, reason=reason, message=message):
            await update_status(self._context.store, VIRTUAL_MACHINE, machine, after)
            self._context.events.event(machine, "Warning", reason, message)

    async def _clear(self, record: Record, pods: Sequence[Object]) -> Result | None:
        """Remove the Pods of a machine that was taken from a node that is still silent: nobody there says that.

        While that is not known, as of who has just begun to lead, they lead the machine nowhere.
        """
        sight = self._losses.sight(record.node)
        left = [pod for pod in pods if reading.node_of(pod) == record.node]
        if not left or (sight is not None and sight.renewed):
            return None
        if sight is None or sight.heard:
            return Result(_UNKNOWN_SECONDS)
        for pod in left:
            await delete_this(self._context.store, POD, pod, write=_AT_ONCE)
        return Result(_MOMENT_SECONDS)

    async def _take(self, machine: VirtualMachine, node: str, proof: Proof) -> Result | None:
        """By the cluster's own word, given just now."""
        fresh = await self._context.store.find(VIRTUAL_MACHINE, *meta.key(machine))
        if fresh is None or not _is_same(fresh, machine) or not await self._is_proven(node, proof):
            return Result(_MOMENT_SECONDS)
        after = copy.deepcopy(fresh)
        status, was = after["status"], fresh["status"].get("phase")
        status["holder"] = holding.shown(holding.given_up(holding.read(fresh), node))
        status.pop("nodeName", None)
        status.pop("virtualMachinePods", None)
        for type_ in (*OF_AN_INSTANCE, VirtualMachineCondition.MIGRATING):
            remove_condition(after, type_)
        status.pop("guestOSInfo", None)
        status.pop("versions", None)
        status.pop("restartAwaitingChanges", None)
        state = status.get("migrationState")
        if state is not None and not state.get("result"):
            state["endTimestamp"], state["result"] = now_rfc3339(), MigrationResult.FAILED
        message = f"Node {node} {_WHY[proof]}: the virtual machine begins anew where it can."
        if was not in _WITHOUT_GUEST:
            set_phase(after, VirtualMachinePhase.PENDING)
            type_, reason = VirtualMachineCondition.RUNNING, RunningReason.NODE_LOST
            set_condition(after, type_, False, reason=reason, message=message)
        if not self._context.ownership.leads():
            return Result(_MOMENT_SECONDS)
        await update_status(self._context.store, VIRTUAL_MACHINE, fresh, after)
        _log.warning("Machine %s/%s is taken from node %s, which %s.", *meta.key(machine), node, _WHY[proof])
        if was not in _WITHOUT_GUEST:
            self._context.events.event(machine, "Warning", RunningReason.NODE_LOST, message)
        return Result(_MOMENT_SECONDS)

    async def _is_proven(self, node: str, proof: Proof) -> bool:
        """Whether the store says so as well, of which a copy was seen before."""
        lease = await self._context.store.find(LEASE, SYSTEM_NAMESPACE, lease_name(node))
        if ("" if lease is None else stamp(lease)) != self._losses.stamp(node):
            return False
        if proof is Proof.FENCE:
            return True
        found = await self._context.store.find(NODE, "", node)
        return found is not None and loss.is_out_of_service(found) and not is_true(found, NodeConditionType.READY)


def _is_same(one: VirtualMachine, other: VirtualMachine) -> bool:
    """Whether nothing was written since."""
    return all(one["metadata"].get(part) == other["metadata"].get(part) for part in ("uid", "resourceVersion"))
