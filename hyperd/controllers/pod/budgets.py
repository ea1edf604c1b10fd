"""A machine's disruption budget: evictions take none of its Pods, also while hyperd answers nobody.

While a guest is on its way two Pods are Ready, and either may have it; so both are kept then. As the reference's
and KubeVirt's disruption budget controllers have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.controllers.pod import manifest
from hyperd.errors import AlreadyExists, Conflict, NotFound
from hyperd.resources.all import POD_DISRUPTION_BUDGET
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta, names
from hyperd.runtime.status import delete_this
from hyperd.store.interface import PatchType

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine


class Budgets:
    """Of all machines; the leader's."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._seen = context.informer(POD_DISRUPTION_BUDGET)

    async def keep(self, machine: VirtualMachine, pods: int) -> None:
        """See to it that evictions leave ``pods`` of the machine's Pods."""
        found = self._of(machine)
        if found is not None and (_kept_by(found) == pods or _counts_more(found, pods)):
            return
        namespace, name = machine["metadata"]["namespace"], manifest.pod_name(machine)
        try:
            if found is None:
                await self._store.create(POD_DISRUPTION_BUDGET, namespace, _budget(machine, pods))
            else:
                patch = {"metadata": {"uid": found["metadata"]["uid"]}, "spec": {"minAvailable": pods}}
                await self._store.patch(POD_DISRUPTION_BUDGET, namespace, name, PatchType.MERGE, patch)
        except (AlreadyExists, Conflict, NotFound):
            return  # it is not seen as it is; its event comes here

    async def drop(self, machine: VirtualMachine) -> None:
        """The machine has no Pods, and is to have none."""
        if (found := self._of(machine)) is not None and not meta.is_deleting(found):
            await delete_this(self._store, POD_DISRUPTION_BUDGET, found)

    def _of(self, machine: VirtualMachine) -> Object | None:
        known = machine["metadata"]
        found = self._seen.get(known["namespace"], manifest.pod_name(machine))
        return found if found is not None and meta.is_owned_by(found, known["uid"]) else None


def _kept_by(budget: Object) -> int:
    kept = (budget.get("spec") or {}).get("minAvailable")
    return kept if isinstance(kept, int) else -1  # somebody's percentage


def _counts_more(budget: Object, pods: int) -> bool:
    """Whether Kubernetes has not seen yet that a Pod is gone: a lower number would let the guest's be evicted.

    What it has seen comes here as the budget's event.
    """
    healthy = int((budget.get("status") or {}).get("currentHealthy") or 0)
    return pods < _kept_by(budget) and healthy > pods


def _budget(machine: VirtualMachine, pods: int) -> Object:
    return {
        "apiVersion": POD_DISRUPTION_BUDGET.api_version,
        "kind": POD_DISRUPTION_BUDGET.kind,
        "metadata": {
            "namespace": machine["metadata"]["namespace"],
            "name": manifest.pod_name(machine),
            "labels": manifest.own_labels(machine),
            "ownerReferences": [meta.owner_reference(machine)],
        },
        "spec": {
            "minAvailable": pods,
            "selector": {"matchLabels": {names.VM_UID_LABEL: machine["metadata"]["uid"]}},
        },
    }
