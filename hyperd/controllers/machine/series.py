"""Operations of the system's own that have a guest leave its node: one after the other for one cause.

Each is called as the reference calls them: what they are for, some digits of the cause, and a number. What failed
is followed by another one, later each time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hyperd.backoff import backoff
from hyperd.controllers.machine.operations import Ends
from hyperd.resources.all import VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_operation import OperationType
from hyperd.resources.schema.kind import Object

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

_NUMBER: Final = re.compile("[0-9]{1,9}")
"""Of an operation of ours. Others may be called so too, and must not lead to a name that nobody can have."""


@dataclass(frozen=True)
class Series:
    """Those with names that begin with ``prefix``; ``first`` and ``last`` are seconds after one that failed."""

    prefix: str
    first: float
    last: float
    _ends: Ends = field(default_factory=Ends)

    def stem(self, cause: str) -> str:
        """What the names of all operations for one cause begin with."""
        return f"{self.prefix}{hashlib.sha256(cause.encode()).hexdigest()[:5]}-"

    def next_name(self, cause: str, ops: Iterable[VirtualMachineOperation]) -> str:
        """That of the next operation for the cause, where a machine has ``ops``."""
        stem, names = self.stem(cause), (op["metadata"]["name"] for op in ops)
        numbers = [name.removeprefix(stem) for name in names if name.startswith(stem)]
        latest = max((int(number) for number in numbers if _NUMBER.fullmatch(number)), default=0)
        return f"{stem}{latest + 1}"

    def rest(self, failed: Sequence[VirtualMachineOperation]) -> float:
        """Seconds until another one may follow those that failed; none, or a negative number, is now."""
        if not failed:
            return 0.0
        delay = backoff(len(failed), first=self.first, last=self.last, jitter=lambda: 0.0)
        return delay - min([self._ends.since(op) for op in failed])


def eviction(
    machine: VirtualMachine, name: str, annotations: Mapping[str, str], finalizers: Sequence[str] = ()
) -> Object:
    """The operation, by the machine's own policy: how its guest is slowed down is nothing that we may change."""
    metadata: Object = {
        "namespace": machine["metadata"]["namespace"],
        "name": name,
        "annotations": dict(annotations),
    }
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    return {
        "apiVersion": VIRTUAL_MACHINE_OPERATION.api_version,
        "kind": VIRTUAL_MACHINE_OPERATION.kind,
        "metadata": metadata,
        "spec": {"type": OperationType.EVICT, "virtualMachineName": machine["metadata"]["name"]},
    }
