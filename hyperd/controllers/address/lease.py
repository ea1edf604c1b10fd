"""VirtualMachineIPAddressLease: how long an address stays its namespace's after it was released."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, ClassVar

from hyperd import clock
from hyperd.controllers.address.controller import AddressController
from hyperd.controllers.address.release import held_by, released
from hyperd.controllers.context import Context
from hyperd.errors import NotFound
from hyperd.resources.all import VIRTUAL_MACHINE_IP_ADDRESS, VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_ip_address_lease import (
    LeaseBoundReason,
    LeaseCondition,
    LeasePhase,
    address_of_lease,
    lease_name,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import names
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.status import remove_finalizer, update_status
from hyperd.store.interface import EventType, Item, PatchType, Preconditions

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_ip_address import VirtualMachineIPAddress
    from hyperd.resources.views.virtual_machine_ip_address_lease import (
        IPAddressReference,
        VirtualMachineIPAddressLease,
    )


class LeaseController(Controller):
    """Shows a lease's phase and ends it after its retention."""

    name = "virtualmachineipaddresslease"
    kind = VIRTUAL_MACHINE_IP_ADDRESS_LEASE
    cluster_wide = True
    writes: ClassVar = {VIRTUAL_MACHINE_IP_ADDRESS_LEASE: ("delete", "patch")}

    def __init__(self, context: Context, allocator: AddressController) -> None:
        super().__init__()
        self._context = context
        self._allocator = allocator
        self._leases = context.informer(VIRTUAL_MACHINE_IP_ADDRESS_LEASE)
        self._addresses = context.informer(VIRTUAL_MACHINE_IP_ADDRESS)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE_IP_ADDRESS: self._lease_of_address}

    def _lease_of_address(self, item: Item[VirtualMachineIPAddress]) -> Iterable[Key]:
        address = (item.object().get("status") or {}).get("address")
        if address:
            with suppress(AddressValueError):  # administrators may write any status
                yield Key("", lease_name(IPv4Address(address)))

    def on_own(self, type_: EventType, old: Item | None, new: Item | None) -> None:
        """Every daemon hears of leases, also while another one leads."""
        item = new or old
        address = None if item is None else address_of_lease(item.name)
        if address is not None:
            self._allocator.forget_granted(address)
        super().on_own(type_, old, new)

    async def reconcile(self, key: Key) -> Result | None:
        before = self._leases.get(*key)
        if before is None:
            return None
        address = address_of_lease(key.name)
        if before["metadata"].get("deletionTimestamp"):
            await remove_finalizer(self._context.store, self.kind, before)
            return None
        ref = before["spec"].get("virtualMachineIPAddressRef")
        named = ref is not None and bool(ref.get("name"))
        vmip = await self._named(ref) if ref is not None and named else None
        if vmip is not None and held_by(before, vmip) and _is_its(address, vmip):
            before = await self._labelled(before, vmip)
            after = copy.deepcopy(before)
            after.setdefault("status", {})["phase"] = LeasePhase.BOUND
            after["status"].pop("retentionTimer", None)
            set_condition(after, LeaseCondition.BOUND, True, reason=LeaseBoundReason.BOUND)
            await update_status(self._context.store, self.kind, before, after)
            return None
        if vmip is None and named:
            await self._keep(before)
            return None
        return await self._release(before)

    async def _keep(self, before: VirtualMachineIPAddressLease) -> None:
        """Its address is absent, and was not seen deleted, which would have released it: a guest may have it."""
        after = copy.deepcopy(before)
        after.setdefault("status", {})["phase"] = LeasePhase.BOUND
        message = (
            "The VirtualMachineIPAddress that the spec names is missing, and was not deleted. The lease is kept "
            "for it; delete the lease if it shall not return."
        )
        reason = LeaseBoundReason.ADDRESS_NOT_FOUND
        set_condition(after, LeaseCondition.BOUND, False, reason=reason, message=message)
        await update_status(self._context.store, self.kind, before, after)

    async def _labelled(
        self, lease: VirtualMachineIPAddressLease, vmip: VirtualMachineIPAddress
    ) -> VirtualMachineIPAddressLease:
        """With the holder's uid as its label, which somebody may have taken away."""
        meta, uid = lease["metadata"], vmip["metadata"]["uid"]
        if (meta.get("labels") or {}).get(names.VMIP_UID_LABEL) == uid:
            return lease
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "labels": {names.VMIP_UID_LABEL: uid}}}
        return (await self._context.store.patch(self.kind, "", meta["name"], PatchType.MERGE, patch)).object()

    async def _named(self, ref: IPAddressReference) -> VirtualMachineIPAddress | None:
        """The address of that name; what the informer does not show may be newer than the informer."""
        namespace, name = ref["namespace"], ref["name"]
        shown = self._addresses.get(namespace, name)
        return shown or await self._context.store.find(VIRTUAL_MACHINE_IP_ADDRESS, namespace, name)

    async def _release(self, lease: VirtualMachineIPAddressLease) -> Result | None:
        retention = self._context.settings.network.lease_retention_seconds
        status = lease.get("status") or {}
        if status.get("phase") == LeasePhase.RELEASED:
            timer = status.get("retentionTimer")
            left = retention - clock.passed(timer)
            if left <= 0:
                await self._remove(lease)
                return None
            if clock.due_to_note(timer, retention):
                noted = copy.deepcopy(lease)
                noted["status"]["retentionTimer"] = clock.timer(clock.passed(timer))
                await update_status(self._context.store, self.kind, lease, noted)
            return Result(clock.next_look(left, retention))
        if retention <= 0:
            await self._remove(lease)
            return None
        await released(self._context.store, lease)
        return Result(clock.next_look(retention, retention))

    async def _remove(self, lease: VirtualMachineIPAddressLease) -> None:
        # This very lease: by the time that this arrives the address may have been leased anew.
        meta = lease["metadata"]
        this = Preconditions(uid=meta["uid"], resource_version=meta["resourceVersion"])
        try:
            await self._context.store.delete(self.kind, "", meta["name"], preconditions=this)
            item = await self._context.store.get(self.kind, "", meta["name"])
        except NotFound:
            return
        if item.uid != meta["uid"]:
            return
        await remove_finalizer(self._context.store, self.kind, item.object())


def _is_its(address: IPv4Address | None, vmip: VirtualMachineIPAddress) -> bool:
    """Whether the object has, or may yet get, this address: of two that were leased for it at once, one stays."""
    return (vmip.get("status") or {}).get("address") in (None, "", str(address))
