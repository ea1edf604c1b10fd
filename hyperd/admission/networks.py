"""Rules of a virtual machine's networks and of the address it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.resources.all import VIRTUAL_MACHINE_IP_ADDRESS
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.resources.values.meta import is_owned_by

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import Network, VirtualMachine, VirtualMachineSpec

    Machine = Context[VirtualMachine, VirtualMachineSpec]

PATH = "spec.networks"
_ADDRESS_PATH = "spec.virtualMachineIPAddressName"
_MAIN_ID = 1


async def check(context: Machine) -> None:
    """Judge the list of networks, then the address object."""
    networks = context.spec.get("networks") or []
    _check_main(context, networks)
    _check_others(context, networks)
    has_main = not networks or networks[0]["type"] == NetworkType.MAIN
    await _check_address(context, has_main=has_main)


def _check_main(context: Machine, networks: Sequence[Network]) -> None:
    for index, network in enumerate(networks):
        if network["type"] != NetworkType.MAIN:
            continue
        path = f"{PATH}[{index}]"
        if index:
            context.invalid(f"{path}.type", NetworkType.MAIN, "Main must be the first network, and only once")
        for field in ("name", "virtualMachineMACAddressName", "ipAddressName"):
            if field in network:
                context.forbidden(f"{path}.{field}", f"Main has no {field}")
        if network.get("id", _MAIN_ID) != _MAIN_ID:
            context.invalid(f"{path}.id", network["id"], f"the id of Main is {_MAIN_ID}")


def _check_others(context: Machine, networks: Sequence[Network]) -> None:
    seen: set[tuple[str, str]] = set()
    ids: set[int] = set()
    for index, network in enumerate(networks):
        path = f"{PATH}[{index}]"
        number = network.get("id")
        if number is not None:
            if number in ids or (number == _MAIN_ID and network["type"] != NetworkType.MAIN):
                context.duplicate(f"{path}.id", number)
            ids.add(number)
        if network["type"] == NetworkType.MAIN:
            continue
        if "name" not in network:
            context.required(f"{path}.name", f"a network of type {network['type']} needs a name")
            continue
        identity = (network["type"], network["name"])
        if identity in seen:
            context.duplicate(path, {"type": network["type"], "name": network["name"]})
        seen.add(identity)


async def _check_address(context: Machine, *, has_main: bool) -> None:
    wanted = context.spec.get("virtualMachineIPAddressName")
    if not context.policy.virtual_machine_cidrs:
        if wanted:
            context.forbidden(_ADDRESS_PATH, "no virtualMachineCIDRs are configured, so there are no addresses")
        return
    if not has_main:
        if wanted:
            context.forbidden(_ADDRESS_PATH, "an address needs the network Main")
        return
    if wanted == context.old_spec.get("virtualMachineIPAddressName") and not context.creating:
        return
    name = context.request.name
    # A name that is still to be generated is nobody's.
    sought = wanted or name
    address = await context.find(VIRTUAL_MACHINE_IP_ADDRESS, sought) if sought else None
    if address is None:
        return
    user = (address.get("status") or {}).get("virtualMachineName")
    if wanted and user and user != name:
        context.invalid(_ADDRESS_PATH, wanted, f'it is used by VirtualMachine "{user}"')
    own_uid = "" if context.old is None else context.old["metadata"]["uid"]
    if not wanted and not (own_uid and is_owned_by(address, own_uid)):
        context.required(
            _ADDRESS_PATH,
            f'a VirtualMachineIPAddress "{name}" exists: name it here to use it, or rename the virtual machine',
        )
