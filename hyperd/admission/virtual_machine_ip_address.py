"""Rules of VirtualMachineIPAddress: what is asked for exists, is free, and once bound stays."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.network.addresses import contains
from hyperd.resources.all import VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_ip_address import IPAddressType
from hyperd.resources.kinds.virtual_machine_ip_address_lease import LeasePhase, lease_name

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_ip_address import (
        VirtualMachineIPAddress,
        VirtualMachineIPAddressSpec,
    )

    Address = Context[VirtualMachineIPAddress, VirtualMachineIPAddressSpec]

_PATH = "spec.staticIP"


async def review(context: Address) -> None:
    """Judge the wanted address."""
    if not context.spec_changed:
        return
    cidrs = context.policy.virtual_machine_cidrs
    if context.creating and not cidrs:
        context.forbidden("spec", "no virtualMachineCIDRs are configured, so there are no addresses")
        return
    if context.old is not None and (bound := (context.old.get("status") or {}).get("address")):
        # A lease does not move, which the field says itself.
        _warn_of_range(context, str(bound))
        return
    wanted = context.spec.get("staticIP")
    if context.spec["type"] != IPAddressType.STATIC or not wanted:
        return  # a Static one without an address breaks a rule of its kind, which is told beside ours
    address = IPv4Address(wanted)
    if not contains(cidrs, address):
        listed = ", ".join(str(cidr) for cidr in cidrs)
        context.invalid(
            _PATH,
            str(address),
            f"must be in {listed}, and neither the network, the gateway nor the broadcast address of it",
        )
        return
    await _check_free(context, address)


def _warn_of_range(context: Address, bound: str) -> None:
    """The ranges may be others by now; who has an address keeps it."""
    with suppress(ValueError):  # administrators may write any status
        if not contains(context.policy.virtual_machine_cidrs, IPv4Address(bound)):
            context.warn(f"spec: the address {bound} is in none of the virtualMachineCIDRs any more")


async def _check_free(context: Address, address: IPv4Address) -> None:
    lease = await context.find(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, lease_name(address))
    if lease is None:
        return
    holder = lease["spec"].get("virtualMachineIPAddressRef")
    name = None if holder is None else holder.get("name")
    released = (lease.get("status") or {}).get("phase") == LeasePhase.RELEASED or not name
    ours = holder is not None and holder["namespace"] == context.request.namespace
    if ours and (released or name == context.request.name):
        return
    if released:
        text = "it was released by another namespace a short while ago: try again in some minutes"
    elif ours:
        text = f'it is leased to VirtualMachineIPAddress "{name}"'
    else:
        text = "it is leased to another namespace"
    context.invalid(_PATH, str(address), text)
