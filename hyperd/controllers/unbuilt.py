"""What is accepted and not built: whole kinds, and single fields of kinds that are.

Nothing is silently ignored and nothing pretends: an object of a kind that has no controller yet is Pending, and
its main condition says what is missing; a field without effect is named by one quiet condition of its object.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from enum import StrEnum

from hyperd.controllers.context import Context
from hyperd.resources import all as kinds
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.schema.structural import subschema
from hyperd.resources.schema.unbuilt import unbuilt_in
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.runtime.controller import Controller, Key, Result
from hyperd.runtime.informer import Informer
from hyperd.runtime.status import update_status
from hyperd.store.interface import Store


class UnbuiltCondition(StrEnum):
    """Type of the condition of an object with fields without effect; absent when there are none."""

    UNBUILT_FIELDS = "UnbuiltFields"


class UnbuiltReason(StrEnum):
    """Reason of that condition, and of the main one of an object whose whole kind is not built."""

    NOT_IMPLEMENTED = "NotImplemented"


_PENDING = VirtualMachinePhase.PENDING
"""Every kind with a phase has this one."""


def name_unbuilt_fields(kind: Kind, obj: AnyObject, *, built: Container[str] = ()) -> None:
    """Set or drop the condition that names the fields of ``obj`` without effect, in place; see ``unbuilt_in``."""
    found = unbuilt_in(kind, obj, built=built)
    if not found:
        remove_condition(obj, UnbuiltCondition.UNBUILT_FIELDS)
        return
    message = " ".join(f"{one.field}: {one.sentence}" for one in found)
    reason = UnbuiltReason.NOT_IMPLEMENTED
    set_condition(obj, UnbuiltCondition.UNBUILT_FIELDS, True, reason=reason, message=message)


class UnbuiltController(Controller):
    """Says of each object of a kind that its effect is not built."""

    workers = 1
    cluster_wide = True

    def __init__(self, store: Store, objects: Informer[Object]) -> None:
        super().__init__()
        self.kind = kind = objects.kind
        self.name = kind.singular
        self._store = store
        self._objects = objects
        phases = (subschema(kind.schema, "status.phase") or {}).get("enum", ())
        self._phase = _PENDING if _PENDING in phases else ""

    async def reconcile(self, key: Key) -> Result | None:
        before = self._objects.get(*key)
        if before is None or before["metadata"].get("deletionTimestamp"):
            return None
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status["observedGeneration"] = before["metadata"]["generation"]
        if self._phase:
            status["phase"] = self._phase
        if (condition := self.kind.main_condition) is not None:
            reason = UnbuiltReason.NOT_IMPLEMENTED
            set_condition(after, condition, False, reason=reason, message=self.kind.not_built)
        await update_status(self._store, self.kind, before, after)
        return None


def unbuilt_controllers(context: Context) -> list[UnbuiltController]:
    """One for each kind of which nothing is built."""
    return [UnbuiltController(context.store, context.informer(kind)) for kind in kinds.KINDS if kind.not_built]
