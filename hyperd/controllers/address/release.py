"""The end of a lease: with the deletion of its address, never because the address is not there."""

from __future__ import annotations

import copy
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from hyperd import clock
from hyperd.errors import Conflict, NotFound, TemporaryError
from hyperd.resources.all import VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_ip_address_lease import (
    LeaseBoundReason,
    LeaseCondition,
    LeasePhase,
    lease_name,
)
from hyperd.resources.values import names
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.status import RACE, RACE_DELAY_SECONDS, update_status
from hyperd.store.interface import PatchType, Requirement, Selector, Store

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_ip_address import VirtualMachineIPAddress
    from hyperd.resources.views.virtual_machine_ip_address_lease import VirtualMachineIPAddressLease


async def release_lease(store: Store, vmip: VirtualMachineIPAddress) -> None:
    """Release what ``vmip``, which is being deleted, holds; the address stays its namespace's for a while."""
    for lease in await _leases_of(store, vmip):
        if held_by(lease, vmip):
            await released(store, lease)


async def released(store: Store, lease: VirtualMachineIPAddressLease) -> VirtualMachineIPAddressLease:
    """Take the holder's name and uid from the lease and show it Released; the lease as it is stored then."""
    meta = lease["metadata"]
    patch = {
        "metadata": {
            "resourceVersion": meta["resourceVersion"],
            "labels": {names.VMIP_UID_LABEL: None},
        },
        "spec": {"virtualMachineIPAddressRef": {"name": ""}},
    }
    kind = VIRTUAL_MACHINE_IP_ADDRESS_LEASE
    try:
        before = (await store.patch(kind, "", meta["name"], PatchType.MERGE, patch)).object()
    except NotFound:
        return lease
    except Conflict as err:
        raise TemporaryError(err.message, key=RACE, delay=RACE_DELAY_SECONDS) from err
    after = copy.deepcopy(before)
    status = after.setdefault("status", {})
    status["phase"] = LeasePhase.RELEASED
    status["retentionTimer"] = clock.timer()
    set_condition(after, LeaseCondition.BOUND, False, reason=LeaseBoundReason.RELEASED)
    return await update_status(store, kind, before, after)


async def _leases_of(store: Store, vmip: VirtualMachineIPAddress) -> list[VirtualMachineIPAddressLease]:
    kind, address = VIRTUAL_MACHINE_IP_ADDRESS_LEASE, (vmip.get("status") or {}).get("address")
    try:
        lease = await store.find(kind, "", lease_name(IPv4Address(address))) if address else None
    except AddressValueError:
        lease = None
    if lease is not None:
        return [lease]
    # Written before a crash, and not yet in the status.
    mine = Requirement(names.VMIP_UID_LABEL, "in", frozenset({vmip["metadata"]["uid"]}))
    return [item.object() for item in (await store.list(kind, selector=Selector(labels=(mine,)))).items]


def names_address(lease: VirtualMachineIPAddressLease, vmip: VirtualMachineIPAddress) -> bool:
    """Whether the lease is for an address of that name."""
    ref = lease["spec"].get("virtualMachineIPAddressRef")
    meta = vmip["metadata"]
    return ref is not None and ref["namespace"] == meta["namespace"] and ref.get("name") == meta["name"]


def held_by(lease: VirtualMachineIPAddressLease, vmip: VirtualMachineIPAddress) -> bool:
    """By name and uid: an address made anew under the same name has not the old one's lease."""
    label = (lease["metadata"].get("labels") or {}).get(names.VMIP_UID_LABEL)
    return names_address(lease, vmip) and label in (None, vmip["metadata"]["uid"])
