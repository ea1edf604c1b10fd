"""VirtualMachineMACAddressLease: shown Bound while its address is there, and gone with it.

It never ends because the address is merely absent: a guest may have it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers.context import Context
from hyperd.controllers.macaddress import hardware
from hyperd.errors import NotFound
from hyperd.resources.all import VIRTUAL_MACHINE_MAC_ADDRESS, VIRTUAL_MACHINE_MAC_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_mac_address_lease import (
    MACLeaseBoundReason,
    MACLeaseCondition,
    MACLeasePhase,
    mac_lease_name,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import names
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.status import remove_finalizer, update_status
from hyperd.store.interface import Item, Preconditions, Requirement, Selector, Store

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_mac_address import VirtualMachineMACAddress
    from hyperd.resources.views.virtual_machine_mac_address_lease import VirtualMachineMACAddressLease

_KIND = VIRTUAL_MACHINE_MAC_ADDRESS_LEASE
_ABSENT = (
    "The VirtualMachineMACAddress that the spec names is missing, and was not deleted. The lease is kept for it; "
    "delete the lease if it shall not return."
)


def held_by(lease: VirtualMachineMACAddressLease, mac: VirtualMachineMACAddress) -> bool:
    """By name and uid: an object made anew under the same name has not the old one's lease."""
    ref, meta = lease["spec"].get("virtualMachineMACAddressRef"), mac["metadata"]
    named = ref is not None and (ref["namespace"], ref["name"]) == (meta["namespace"], meta["name"])
    label = (lease["metadata"].get("labels") or {}).get(names.VMMAC_UID_LABEL)
    return named and label in (None, meta["uid"])


async def leases_of(store: Store, mac: VirtualMachineMACAddress) -> list[VirtualMachineMACAddressLease]:
    """All that ``mac`` holds, asked of the store; more than one after no crash, and by no other way."""
    mine = Requirement(names.VMMAC_UID_LABEL, "in", frozenset({mac["metadata"]["uid"]}))
    listing = await store.list(_KIND, selector=Selector(labels=(mine,)))
    found: list[VirtualMachineMACAddressLease] = [item.object() for item in listing.items]
    known = {lease["metadata"]["name"] for lease in found}
    shown = hardware.parsed((mac.get("status") or {}).get("address"))
    if shown and mac_lease_name(shown) not in known:
        lease = await store.find(_KIND, "", mac_lease_name(shown))
        found += [] if lease is None else [lease]
    return [lease for lease in found if held_by(lease, mac)]


async def end_lease(store: Store, lease: VirtualMachineMACAddressLease) -> None:
    """Remove it; nothing to do is fine."""
    meta = lease["metadata"]
    if await remove_finalizer(store, _KIND, lease) is not None:
        with suppress(NotFound):
            await store.delete(_KIND, "", meta["name"], preconditions=Preconditions(uid=meta["uid"]))


class MACLeaseController(Controller):
    """Shows a lease's phase, and removes one whose address is another by now."""

    name = "virtualmachinemacaddresslease"
    kind = _KIND
    cluster_wide = True
    writes: ClassVar = {_KIND: ("delete", "patch")}

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._leases = context.informer(_KIND)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE_MAC_ADDRESS: _lease_of_address}

    async def reconcile(self, key: Key) -> Result | None:
        before = self._leases.get(*key)
        if before is None:
            return None
        if before["metadata"].get("deletionTimestamp"):
            await remove_finalizer(self._context.store, _KIND, before)
            return None
        ref = before["spec"].get("virtualMachineMACAddressRef")
        mac: VirtualMachineMACAddress | None = None
        if ref is not None:
            mac = await self._context.store.find(VIRTUAL_MACHINE_MAC_ADDRESS, ref["namespace"], ref["name"])
        shown = "" if mac is None else hardware.parsed((mac.get("status") or {}).get("address"))
        if mac is not None and (not held_by(before, mac) or (shown and mac_lease_name(shown) != key.name)):
            await end_lease(self._context.store, before)
            return None
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status["phase"], status["observedGeneration"] = MACLeasePhase.BOUND, before["metadata"]["generation"]
        reason = MACLeaseBoundReason.BOUND if mac is not None else MACLeaseBoundReason.ADDRESS_NOT_FOUND
        message = "" if mac is not None else _ABSENT
        set_condition(after, MACLeaseCondition.BOUND, mac is not None, reason=reason, message=message)
        await update_status(self._context.store, _KIND, before, after)
        return None


def _lease_of_address(item: Item[VirtualMachineMACAddress]) -> Iterable[Key]:
    if shown := hardware.parsed((item.object().get("status") or {}).get("address")):
        yield Key("", mac_lease_name(shown))
