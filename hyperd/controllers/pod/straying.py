"""Guests that are where their machines may not be any more, as nodeSelector, affinity or tolerations have changed.

They are moved by operations of the controller's own, which the reference names alike; by each change one that
succeeds, or three that fail. Which rules a Pod's node fits stands on the Pod: what changes of the nodes alone
moves nobody, as a scheduler has it for Pods. A guest that cannot go stays, and its machine says that a restart is
awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.machine.operations import (
    index_operations,
    is_finished,
    machine_of,
    of_machine,
    phase_of,
)
from hyperd.controllers.machine.series import Series, eviction
from hyperd.controllers.pod import manifest, reading
from hyperd.controllers.pod.targets import Targets
from hyperd.controllers.pod.updating import may_go
from hyperd.errors import AlreadyExists, Conflict, Forbidden, NotFound
from hyperd.resources.all import POD, VIRTUAL_MACHINE, VIRTUAL_MACHINE_CLASS, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_conditions import MigratableReason
from hyperd.resources.kinds.virtual_machine_operation import OperationPhase
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values import meta, names
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.store.interface import Item, PatchType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

_PREFIX: Final = "nodeplacement-update-"
_FIRST_SECONDS: Final = 10.0
_LAST_SECONDS: Final = 300.0
_TRIES: Final = 3
_AGAIN_SECONDS: Final = 10.0
_TOLD: Final = 1_000
_GIVEN_UP: Final = (
    "Live migration for the workload update failed {} times, giving up; "
    "the VirtualMachine may require a restart to apply the update."
)


class PlacementUpdates(Controller):
    """Asks for those moves."""

    name = "virtualmachine-nodeplacement"
    kind = VIRTUAL_MACHINE
    cluster_wide = True
    workers = 1
    writes: ClassVar = {VIRTUAL_MACHINE_OPERATION: ("create",), POD: ("patch",)}

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._conf = context.settings.kubernetes
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._classes = context.informer(VIRTUAL_MACHINE_CLASS)
        self._pods = context.informer(POD)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        usage.index_machines(self._machines)
        index_operations(self._operations)
        self._targets = Targets(context)
        self._series = Series(_PREFIX, _FIRST_SECONDS, _LAST_SECONDS)
        self._told: dict[tuple[str, str], None] = {}
        """Machines, by uid, and rules of which it was said that nothing is tried any more."""

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE_OPERATION: machine_of, VIRTUAL_MACHINE_CLASS: self._of_class}

    def _of_class(self, item: Item) -> Iterable[Key]:
        return [Key(vm.namespace, vm.name) for vm in self._machines.by_index(usage.CLASS_INDEX, item.name)]

    async def reconcile(self, key: Key) -> Result | None:
        machine = self._machines.get(*key)
        if machine is None or not may_go(machine):
            return None
        class_ = self._classes.get("", machine["spec"].get("virtualMachineClassName") or "")
        pod = manifest.find_pod(self._pods, machine)
        if class_ is None or pod is None or not reading.is_of(pod, machine) or reading.is_ending(pod):
            return None
        rules = manifest.placed_by(machine, class_, self._conf)
        if reading.placed_by(pod) == rules:
            return None
        ops = of_machine(self._operations, key.namespace, key.name)
        if any(not is_finished(op) for op in ops):
            return None  # its end comes here
        if not self._targets.strays(machine):
            return await self._note(pod, rules)
        # The machine's own word may be from before the change.
        if self._targets.lacking(machine)[0] is MigratableReason.NO_TARGET:
            return None
        tried = [op for op in ops if _rules_of(op) == rules]
        if any(phase_of(op) == OperationPhase.COMPLETED for op in tried):
            return None
        failed = [op for op in tried if phase_of(op) == OperationPhase.FAILED]
        if len(failed) >= _TRIES:
            self._give_up(machine, rules)
            return None
        if (left := self._series.rest(failed)) > 0:
            return Result(left)
        return await self._ask(machine, ops, rules)

    async def _note(self, pod: Object, rules: str) -> Result | None:
        """The node fits them: from now on it is taken as fit, whatever becomes of its labels."""
        where = pod["metadata"]
        patch = {
            "metadata": {
                "resourceVersion": where["resourceVersion"],
                "annotations": {names.POD_PLACED_BY_ANNOTATION: rules},
            }
        }
        try:
            await self._context.store.patch(POD, where["namespace"], where["name"], PatchType.MERGE, patch)
        except Conflict:
            return Result(_AGAIN_SECONDS)
        except NotFound:
            return None
        return None

    async def _ask(
        self, machine: VirtualMachine, ops: Sequence[VirtualMachineOperation], rules: str
    ) -> Result | None:
        name = self._series.next_name(meta.uid(machine) + rules, ops)
        annotations = {
            names.VMOP_WORKLOAD_UPDATE_ANNOTATION: "true",
            names.VMOP_WORKLOAD_UPDATE_PLACEMENT_ANNOTATION: rules,
        }
        body = eviction(machine, name, annotations)
        try:
            await self._context.store.create(VIRTUAL_MACHINE_OPERATION, machine["metadata"]["namespace"], body)
        except (AlreadyExists, Forbidden):
            return Result(_AGAIN_SECONDS)  # it is not seen yet, or another operation is not
        return None

    def _give_up(self, machine: VirtualMachine, rules: str) -> None:
        if (told := (meta.uid(machine), rules)) in self._told:
            return
        self._told = {**dict(list(self._told.items())[-_TOLD:]), told: None}
        message = _GIVEN_UP.format(_TRIES)
        self._context.events.event(machine, "Warning", "WorkloadUpdateFailed", message)


def _rules_of(op: VirtualMachineOperation) -> str:
    return meta.annotations(op).get(names.VMOP_WORKLOAD_UPDATE_PLACEMENT_ANNOTATION, "")
