"""A guest whose Pod was asked to go is moved to another node, by operations of the controller's own.

The mark is on the Pod, so it ends with the Pod: once the guest has gone elsewhere, or is off. Until then an
operation that failed is followed by another one, later each time. Who deletes one takes the mark back. As the
reference's evacuation controller has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.machine.operations import MIGRATIONS, is_finished, of_machine, phase_of
from hyperd.controllers.machine.series import Series, eviction
from hyperd.controllers.pod import manifest
from hyperd.errors import AlreadyExists
from hyperd.resources.all import POD, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_conditions import EvictionReason, VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_operation import OperationPhase
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.runtime import evicted
from hyperd.runtime.controller import Key
from hyperd.runtime.status import remove_finalizer

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

MESSAGE: Final = "VirtualMachine should be evicted from current node or restarted."
_FIRST_SECONDS: Final = 2.0
_LAST_SECONDS: Final = 300.0
_PREFIX: Final = "evacuation-"


class Evacuations:
    """Of all machines; the leader's."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        self._series = Series(_PREFIX, _FIRST_SECONDS, _LAST_SECONDS)
        self._pods = context.informer(POD)

    def show(self, after: VirtualMachine, pod: Object | None) -> bool:
        """Have the machine's status say whether its guest is to go, which is the answer."""
        marked = pod is not None and meta.annotations(pod).get(names.POD_EVICTED_ANNOTATION) == "true"
        type_ = VirtualMachineCondition.EVICTION_REQUIRED
        if marked:
            set_condition(after, type_, True, reason=EvictionReason.REQUIRED, message=MESSAGE)
        else:
            remove_condition(after, type_)
        return marked

    async def ask(self, machine: VirtualMachine, pod: Object) -> float | None:
        """Have the guest moved away from ``pod``, unless it is on its way; seconds until the next look.

        What is asked for before a guest runs would be refused, and is asked for then.
        """
        ops = self._of(meta.key(machine))
        if any(op["spec"]["type"] in MIGRATIONS and not is_finished(op) for op in ops):
            return None
        if machine["status"].get("phase") != VirtualMachinePhase.RUNNING:
            return None
        cause = pod["metadata"]["uid"]
        tried = [op for op in ops if op["metadata"]["name"].startswith(self._series.stem(cause))]
        if (left := self._series.rest([op for op in tried if phase_of(op) == OperationPhase.FAILED])) > 0:
            return left
        body = eviction(
            machine,
            self._series.next_name(cause, ops),
            {names.VMOP_EVACUATION_ANNOTATION: "true"},
            [names.VMOP_PROTECTION_BY_EVACUATION],
        )
        try:
            await self._context.store.create(VIRTUAL_MACHINE_OPERATION, machine["metadata"]["namespace"], body)
        except AlreadyExists:
            return None  # it is not seen yet
        message = "Evict initiated with VirtualMachineOperation"
        self._context.events.event(machine, "Normal", "Evicted", message)
        return None

    async def let_go(self, key: Key, machine: VirtualMachine | None) -> None:
        """Of operations that are over, and of those that somebody takes back, together with the Pod's mark."""
        for op in self._of(key):
            if names.VMOP_PROTECTION_BY_EVACUATION not in (op["metadata"].get("finalizers") or ()):
                continue
            if not is_finished(op):
                if machine is not None and not meta.is_deleting(op):
                    continue
                pod = None if machine is None else manifest.find_pod(self._pods, machine)
                if pod is not None and names.POD_EVICTED_ANNOTATION in meta.annotations(pod):
                    await evicted.unmark(self._context.store, pod)
            protection = names.VMOP_PROTECTION_BY_EVACUATION
            await remove_finalizer(self._context.store, VIRTUAL_MACHINE_OPERATION, op, finalizer=protection)

    def _of(self, machine: Key) -> list[VirtualMachineOperation]:
        return of_machine(self._operations, machine.namespace, machine.name)
