"""A machine's operations, as its controller and its binder look them up.

Which of them counts follows from what takes over from what, never from a clock: see
``controllers/operation/controller.py``.
"""

from __future__ import annotations

from collections.abc import Iterable

from hyperd import clock
from hyperd.controllers.machine.power import ActiveOperation
from hyperd.resources.kinds.virtual_machine_operation import supersedes
from hyperd.resources.schema.kind import Object
from hyperd.runtime.controller import Key
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item

_INDEX = "machine"
POWER_TYPES = ("Start", "Stop", "Restart")
FINISHED = ("Completed", "Failed", "Superseded")


def index_operations(operations: Informer) -> None:
    """Make operations findable by their machine."""
    operations.add_index(_INDEX, _machine_values)


def machine_of(item: Item) -> Iterable[Key]:
    """The machine that an operation is for."""
    yield Key(item.namespace, item.object()["spec"].get("virtualMachineName", ""))


def of_machine(operations: Informer, namespace: str, name: str) -> list[Object]:
    """The operations of a machine, in no order of time."""
    found = [item.object() for item in operations.by_index(_INDEX, f"{namespace}/{name}")]
    return sorted(found, key=lambda op: str(op["metadata"]["uid"]))


def phase_of(op: Object) -> str:
    """The operation's phase; empty before it was looked at."""
    return (op.get("status") or {}).get("phase") or ""


def active_operation(operations: Informer, namespace: str, name: str) -> ActiveOperation | None:
    """The power operation that the machine is to follow now: one in progress that none takes over from."""
    going = [op for op in of_machine(operations, namespace, name) if is_going(op)]
    for op in going:
        if not any(supersedes(other["spec"], op["spec"]) for other in going):
            meta, spec = op["metadata"], op["spec"]
            return ActiveOperation(meta["uid"], spec["type"], bool(spec.get("force")), meta["name"])
    return None


def is_going(op: Object) -> bool:
    """Whether it is a power operation in progress that nobody takes back."""
    going = phase_of(op) == "InProgress" and op["spec"]["type"] in POWER_TYPES
    return going and not op["metadata"].get("deletionTimestamp")


def since_end(op: Object) -> float:
    """Seconds since the operation ended, no more than are sure."""
    return clock.passed((op.get("status") or {}).get("retentionTimer") or {})


def _machine_values(op: Object) -> list[str]:
    return [f"{op['metadata']['namespace']}/{op['spec'].get('virtualMachineName', '')}"]
