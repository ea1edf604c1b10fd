"""Rules of VirtualMachineMACAddress: what is asked for can be a card's, and is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.resources.all import VIRTUAL_MACHINE_MAC_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_mac_address_lease import mac_lease_name

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_mac_address import (
        VirtualMachineMACAddress,
        VirtualMachineMACAddressSpec,
    )

    Address = Context[VirtualMachineMACAddress, VirtualMachineMACAddressSpec]

_PATH = "spec.address"
_GROUP_BIT = 0x01


async def review(context: Address) -> None:
    """Judge the wanted address."""
    wanted = context.spec.get("address")
    if not context.spec_changed or not wanted:
        return
    if context.old is not None and (context.old.get("status") or {}).get("address"):
        return  # A lease does not move, which the field says itself.
    first = bytes.fromhex(wanted.replace(":", ""))
    if first[0] & _GROUP_BIT or not any(first):
        context.invalid(_PATH, wanted, "no card can have it: the first octet is even, and not all are zero")
        return
    lease = await context.find(VIRTUAL_MACHINE_MAC_ADDRESS_LEASE, mac_lease_name(wanted))
    if lease is None:
        return
    ref = lease["spec"].get("virtualMachineMACAddressRef")
    if ref is None or ref["namespace"] != context.request.namespace:
        context.invalid(_PATH, wanted, "it is leased to another namespace")
    elif ref["name"] != context.request.name:
        context.invalid(_PATH, wanted, f'it is leased to VirtualMachineMACAddress "{ref["name"]}"')
