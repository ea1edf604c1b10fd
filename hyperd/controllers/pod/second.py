"""The Pod to which a guest is to go: made when it is its turn; where the API server refuses it, again until not.

Why there is none is told by the machine's condition Migrating, where the guest's node finds it, which judges the
operation. As the reference's, the condition is False with the reason Pending.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.ownership import machine_node
from hyperd.controllers.pod import manifest, updating
from hyperd.controllers.pod.claims import Claims
from hyperd.controllers.pod.placing import Goes
from hyperd.controllers.pod.turns import Turns
from hyperd.errors import (
    AlreadyExists,
    Conflict,
    HyperdError,
    RequestTimeout,
    ServiceUnavailable,
    TemporaryError,
    Timeout,
    TooManyRequests,
)
from hyperd.resources.all import NODE, POD
from hyperd.resources.kinds.virtual_machine_conditions import MigratingReason, VirtualMachineCondition
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import find_condition, remove_condition, set_condition

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

PASSING: Final = (Conflict, RequestTimeout, ServiceUnavailable, TemporaryError, Timeout, TooManyRequests)
"""Errors that say nothing about a Pod: it is made soon."""
_REFUSED: Final = "The Pod that the guest goes to cannot be made: "


class SecondPods:
    """Of all machines; the leader's."""

    def __init__(self, context: Context, claims: Claims) -> None:
        self._context = context
        self._conf = context.settings.kubernetes
        self._claims = claims
        self._nodes = context.informer(NODE)
        self.turns = Turns(context)

    async def make(
        self,
        machine: VirtualMachine,
        op: VirtualMachineOperation,
        class_: VirtualMachineClass,
        disks: Sequence[VirtualDisk],
    ) -> str:
        """Why there is none, as a sentence; empty where there is. Raises what is ``PASSING``."""
        if why := self.turns.take(machine, op):
            return why
        goes = Goes(
            op["metadata"]["uid"],
            machine_node(machine),
            (op["spec"].get("migrate") or {}).get("nodeSelector") or {},
            self._emulators(op),
        )
        body = manifest.make_manifest(machine, class_, self._conf, mounts=self._claims.mounts(disks), goes=goes)
        try:
            await self._context.store.create(POD, machine["metadata"]["namespace"], body)
        except AlreadyExists:
            return ""
        except PASSING:
            raise
        except HyperdError as error:
            self.turns.give_back(op)
            return f"{_REFUSED}{error.message}"
        return ""

    def _emulators(self, op: VirtualMachineOperation) -> Sequence[str]:
        """Digests of QEMUs of which the node must have one; none for any."""
        digest = meta.annotations(op).get(names.VMOP_WORKLOAD_UPDATE_IMAGE_ANNOTATION, "")
        return updating.lead_to((item.object() for item in self._nodes.items()), digest) if digest else ()


def show(after: VirtualMachine, why: str) -> None:
    """Have the machine's status say why its guest cannot go yet; empty for nothing."""
    type_ = VirtualMachineCondition.MIGRATING
    if why:
        set_condition(after, type_, False, reason=MigratingReason.PENDING, message=why)
    elif _pending(after):
        remove_condition(after, type_)


def why_none(machine: VirtualMachine) -> str:
    """What ``show`` said."""
    return _pending(machine)


def _pending(machine: VirtualMachine) -> str:
    found = find_condition(machine, VirtualMachineCondition.MIGRATING) or {}
    return (found.get("message") or "") if found.get("reason") == MigratingReason.PENDING else ""
