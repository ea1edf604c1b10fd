"""Guests that run another QEMU than their node has by now are moved to where they get one that is no older.

One after the other in the whole cluster, by operations of the controller's own, which the reference names alike. A
node may be said to have another QEMU, and none other may: then the guest stays, and its machine's condition says
what it runs. What leads to the same QEMU as an operation that is done is not asked for again, so nothing goes in
circles; what fails is tried again later each time, and no more than thrice in the time that operations are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.machine.emulators import digest_of, is_outdated, version_of
from hyperd.controllers.machine.operations import (
    index_operations,
    is_finished,
    machine_of,
    of_machine,
    phase_of,
)
from hyperd.controllers.machine.series import Series, eviction
from hyperd.controllers.ownership import machine_node
from hyperd.errors import AlreadyExists, Forbidden
from hyperd.resources.all import NODE, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine import RunPolicy
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_operation import OperationPhase
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import is_true
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

_PREFIX: Final = "firmware-update-"
_FIRST_SECONDS: Final = 60.0
_LAST_SECONDS: Final = 3600.0
_TRIES: Final = 3
_AGAIN_SECONDS: Final = 60.0
_UNSEEN_SECONDS: Final = 30.0
_OUTDATED: Final = "outdated"
_GOING: Final = "firmware-update"
_YES: Final = "yes"


def lead_to(nodes: Iterable[Node], digest: str) -> Sequence[str]:
    """Digests of the QEMUs that are no older than that of ``digest``, which is the first of them.

    Two of one version are the same only by their digest: nobody can tell which is the older.
    """
    all_ = list(nodes)
    version = max((version_of(node) for node in all_ if digest_of(node) == digest), default=())
    newer = {digest_of(node) for node in all_ if version and version_of(node) > version}
    return (digest, *sorted(newer - {"", digest}))


class FirmwareUpdates(Controller):
    """Asks for those moves."""

    name = "virtualmachine-firmware"
    kind = VIRTUAL_MACHINE
    cluster_wide = True
    workers = 1
    writes: ClassVar = {VIRTUAL_MACHINE_OPERATION: ("create",)}

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        self._series = Series(_PREFIX, _FIRST_SECONDS, _LAST_SECONDS)
        self._nodes = context.informer(NODE)
        index_operations(self._operations)
        self._machines.add_index(_OUTDATED, lambda machine: [_YES] if is_outdated(machine) else [])
        self._operations.add_index(_GOING, lambda op: [_YES] if _goes_on(op) else [])
        self._seen: dict[str, tuple[str, bool]] = {}
        self._turn = asyncio.Lock()
        self._asked, self._asked_at = "", float("-inf")
        """The operation that was made last, by its uid, until it is seen, or may have come and gone."""

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE_OPERATION: self._of_operation, NODE: self._of_node}

    def wants(self, old: Item | None, new: Item | None) -> bool:
        return new is not None and is_outdated(new.object())

    def _of_operation(self, item: Item[VirtualMachineOperation]) -> Iterable[Key]:
        """Its own machine; the next ones once it is over."""
        op = item.object()
        yield from (key for key in machine_of(item) if self._is_outdated(key))
        if _is_update(op) and not _goes_on(op):
            yield from self._all_outdated()

    def _of_node(self, item: Item[Node]) -> Iterable[Key]:
        """All of them once a node has another QEMU, or takes guests again; a node tells of much else."""
        now = digest_of(item.object()), _is_cordoned(item.object())
        if self._seen.get(item.name) != now:
            self._seen[item.name] = now
            yield from self._all_outdated()

    def _all_outdated(self) -> Iterable[Key]:
        return [Key(one.namespace, one.name) for one in self._machines.by_index(_OUTDATED, _YES)]

    def _is_outdated(self, key: Key) -> bool:
        machine = self._machines.get(*key)
        return machine is not None and is_outdated(machine)

    async def reconcile(self, key: Key) -> Result | None:
        machine = self._machines.get(*key)
        if machine is None or not is_outdated(machine) or not may_go(machine):
            return None
        # What is seen here of the node may be from before its update.
        node = await self._context.store.find(NODE, "", machine_node(machine))
        digest = "" if node is None else digest_of(node)
        if not digest:
            return Result(_AGAIN_SECONDS)
        digests = lead_to((item.object() for item in self._nodes.items()), digest)
        ops = of_machine(self._operations, key.namespace, key.name)
        if any(not is_finished(op) for op in ops):
            return None  # its end comes here
        tried = [op for op in ops if _leads_to(op, digest)]
        if any(phase_of(op) == OperationPhase.COMPLETED for op in tried):
            return None  # the node where it is by now says so soon
        failed = [op for op in tried if phase_of(op) == OperationPhase.FAILED]
        if len(failed) >= _TRIES:
            return None
        if (left := self._series.rest(failed)) > 0:
            return Result(left)
        if not self._has_node(machine, digests):
            return Result(_AGAIN_SECONDS)
        async with self._turn:
            return Result(_AGAIN_SECONDS) if self._goes_on() else await self._ask(machine, ops, digest)

    def _has_node(self, machine: VirtualMachine, digests: Sequence[str]) -> bool:
        """Whether there is another node for it at all: else each try would only wait for one."""
        leaves = machine_node(machine)
        others = (item.object() for item in self._nodes.items() if item.name != leaves)
        return any(digest_of(node) in digests and not _is_cordoned(node) for node in others)

    def _goes_on(self) -> bool:
        """Whether one is under way somewhere, or was begun and is not seen yet."""
        old = clock.elapsed() - self._asked_at > _UNSEEN_SECONDS
        if self._asked and (old or any(item.uid == self._asked for item in self._operations.items())):
            self._asked = ""
        return bool(self._asked or self._operations.by_index(_GOING, _YES))

    async def _ask(
        self, machine: VirtualMachine, ops: Sequence[VirtualMachineOperation], digest: str
    ) -> Result | None:
        name = self._series.next_name(meta.uid(machine) + digest, ops)
        annotations = {
            names.VMOP_WORKLOAD_UPDATE_ANNOTATION: "true",
            names.VMOP_WORKLOAD_UPDATE_IMAGE_ANNOTATION: digest,
        }
        body = eviction(machine, name, annotations)
        try:
            made = await self._context.store.create(
                VIRTUAL_MACHINE_OPERATION, machine["metadata"]["namespace"], body
            )
        except AlreadyExists:
            return Result(_AGAIN_SECONDS)  # it is not seen yet, or somebody else's
        except Forbidden:
            return Result(_AGAIN_SECONDS)  # beside another operation that is not seen yet
        self._asked, self._asked_at = made.uid, clock.elapsed()
        return None


def may_go(machine: VirtualMachine) -> bool:
    """Its end, or its way into such a state, comes here where it may not now."""
    status = machine.get("status") or {}
    return (
        not meta.is_deleting(machine)
        and machine["spec"].get("runPolicy") != RunPolicy.ALWAYS_OFF
        and status.get("phase") == VirtualMachinePhase.RUNNING
        and is_true(machine, VirtualMachineCondition.MIGRATABLE)
    )


def _is_cordoned(node: Node) -> bool:
    return bool((node.get("spec") or {}).get("unschedulable"))


def _is_update(op: VirtualMachineOperation) -> bool:
    return names.VMOP_WORKLOAD_UPDATE_IMAGE_ANNOTATION in meta.annotations(op)


def _goes_on(op: VirtualMachineOperation) -> bool:
    """One that is Pending waits for a quota, or for a place, which may be long: it is in nobody's way."""
    going = phase_of(op) in (None, OperationPhase.IN_PROGRESS) and not meta.is_deleting(op)
    return going and _is_update(op)


def _leads_to(op: VirtualMachineOperation, digest: str) -> bool:
    return meta.annotations(op).get(names.VMOP_WORKLOAD_UPDATE_IMAGE_ANNOTATION) == digest
