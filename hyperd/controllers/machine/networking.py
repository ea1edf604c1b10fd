"""The additional networks of a machine: whether each is there for it, and the hardware address of its card.

The address is that of a VirtualMachineMACAddress, which the spec names or which is made for the machine. A guest
that runs keeps the addresses that it was started with, which its record has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.controllers.macaddress import hardware
from hyperd.controllers.macaddress.leases import held_by
from hyperd.errors import AlreadyExists, Forbidden
from hyperd.network.addresses import mac_for
from hyperd.network.interface import Link
from hyperd.resources.all import VIRTUAL_MACHINE_MAC_ADDRESS, VIRTUAL_MACHINE_MAC_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.resources.kinds.virtual_machine_conditions import (
    MACAddressReason,
    NetworkReason,
    VirtualMachineCondition,
)
from hyperd.resources.kinds.virtual_machine_mac_address import MACAddressPhase
from hyperd.resources.kinds.virtual_machine_mac_address_lease import mac_lease_name
from hyperd.resources.values import names
from hyperd.resources.values.conditions import find_condition, remove_condition, set_condition
from hyperd.resources.values.meta import owner_reference

if TYPE_CHECKING:
    from hyperd.controllers.machine.dependencies import Dependencies
    from hyperd.resources.views.virtual_machine import Network, VirtualMachine
    from hyperd.resources.views.virtual_machine_mac_address import VirtualMachineMACAddress
    from hyperd.resources.views.virtual_machine_status import NetworkStatus

_HELD = (MACAddressPhase.BOUND, MACAddressPhase.ATTACHED)


@dataclass(frozen=True)
class CardAddress:
    """A card's hardware address, and the object that keeps it."""

    mac: str
    object: str


Cards = Mapping[str, CardAddress]
"""By ``key_of`` their network."""


def key_of(network: Network) -> str:
    """``ClusterNetwork/lan``."""
    return f"{network['type']}/{network.get('name', '')}"


def encode(cards: Cards) -> dict[str, list[str]]:
    """For a record in JSON."""
    return {key: [card.mac, card.object] for key, card in cards.items()}


def decode(record: object) -> dict[str, CardAddress]:
    """What ``encode`` made; what is not understood is left out."""
    found = {}
    for key, value in record.items() if isinstance(record, dict) else ():
        if isinstance(value, list) and len(value) == 2 and hardware.parsed(value[0]):
            found[key] = CardAddress(hardware.parsed(value[0]), str(value[1]))
    return found


def link_of(machine: VirtualMachine, network: Network, index: int, cards: Cards) -> Link:
    """The machine's link to one of its additional networks, the ``index``-th of these from 1."""
    meta, card = machine["metadata"], cards.get(key_of(network))
    return Link(
        meta["uid"],
        meta["name"],
        None,
        NetworkType(network["type"]),
        network.get("name", ""),
        index,
        meta["namespace"],
        "" if card is None else card.mac,
    )


def show_cut_off(machine: VirtualMachine, why: str) -> None:
    """Where a guest's NetworkPolicies do not hold. What else there is to be said of networks is said by now."""
    said = find_condition(machine, VirtualMachineCondition.NETWORK_READY) or {}
    if why and said.get("status") != "False":
        type_, reason = VirtualMachineCondition.NETWORK_READY, NetworkReason.NOT_READY
        set_condition(machine, type_, False, reason=reason, message=why)


class Networking:
    """Finds addresses and networks, and writes what it found as conditions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._addresses = context.informer(VIRTUAL_MACHINE_MAC_ADDRESS)

    async def resolve(self, machine: VirtualMachine, found: Dependencies) -> None:
        """All of the spec's; the conditions are set in place."""
        wanted = [one for one in hardware.additional(machine) if one["type"] in self._context.network.serves]
        mac_ready, ready = VirtualMachineCondition.MAC_ADDRESS_READY, VirtualMachineCondition.NETWORK_READY
        if not wanted:
            remove_condition(machine, mac_ready)
            remove_condition(machine, ready)
            return
        missing, lacking = [], []
        for index, network in enumerate(wanted, start=1):
            problem = await self._address(machine, network, found)
            missing += [problem] if problem else []
            lack = await self._context.network.lacks(link_of(machine, network, index, found.cards))
            lacking += [lack] if lack else []
        macs = [card.mac for card in found.cards.values()]
        if len(set(macs)) < len(macs):
            missing.append("Two networks have the same VirtualMachineMACAddress: name one for each.")
        elif mac_for(machine["metadata"]["uid"], 0) in macs:
            missing.append("A VirtualMachineMACAddress is that of the main network's card: use another one.")
        reason = MACAddressReason.NOT_READY if missing else MACAddressReason.READY
        set_condition(machine, mac_ready, not missing, reason=reason, message=" ".join(missing))
        why = NetworkReason.NOT_READY if lacking else NetworkReason.READY
        set_condition(machine, ready, not lacking, reason=why, message=" ".join(lacking))
        for problem in (*lacking, *missing):
            found.block(problem)

    async def _address(self, machine: VirtualMachine, network: Network, found: Dependencies) -> str:
        """Note the address of the network's card; why there is none, empty if there is."""
        meta, name = machine["metadata"], hardware.object_name(machine, network)
        mac = self._addresses.get(meta["namespace"], name)
        named = bool(network.get("virtualMachineMACAddressName"))
        if mac is None and named:
            return f'VirtualMachineMACAddress "{name}" does not exist.'
        if mac is None:
            found.settling = found.settling or not found.blocked
            return await self._make(machine, name) or f"The address of {key_of(network)} is being leased."
        status = mac.get("status") or {}
        address, user = hardware.parsed(status.get("address")), status.get("virtualMachineName")
        if status.get("phase") not in _HELD or not address:
            found.settling = found.settling or not (found.blocked or named or status)
            return f'VirtualMachineMACAddress "{name}" has no address yet.'
        if user not in (None, "", meta["name"]):
            return f'VirtualMachineMACAddress "{name}" is used by virtual machine {user}.'
        if not user:
            # Several may name it: it says whose it is before anybody begins with it.
            found.settling = found.settling or not found.blocked
            return f'VirtualMachineMACAddress "{name}" does not say yet whose it is.'
        if not await self._is_leased(mac, address):
            return f'VirtualMachineMACAddress "{name}" has no lease of its address.'
        found.cards[key_of(network)] = CardAddress(address, name)
        return ""

    async def _is_leased(self, mac: VirtualMachineMACAddress, address: str) -> bool:
        """Whether there is the lease of what a status tells: its name is the address."""
        lease = await self._context.store.find(VIRTUAL_MACHINE_MAC_ADDRESS_LEASE, "", mac_lease_name(address))
        return lease is not None and held_by(lease, mac)

    async def _make(self, machine: VirtualMachine, name: str) -> str:
        """An address of the machine's own; why there can be none, empty when there is or will be one."""
        meta = machine["metadata"]
        body = {
            "apiVersion": VIRTUAL_MACHINE_MAC_ADDRESS.api_version,
            "kind": VIRTUAL_MACHINE_MAC_ADDRESS.kind,
            "metadata": {
                "namespace": meta["namespace"],
                "name": name,
                "labels": {names.VM_UID_LABEL: meta["uid"]},
                "ownerReferences": [owner_reference(machine)],
            },
            "spec": {},
        }
        try:
            await self._context.store.create(VIRTUAL_MACHINE_MAC_ADDRESS, meta["namespace"], body)
        except AlreadyExists:
            return ""
        except Forbidden as err:
            return err.message
        return ""


def shown(networks: Iterable[Network], cards: Cards) -> list[NetworkStatus]:
    """The additional networks' entries in ``status.networks``."""
    found: list[NetworkStatus] = []
    for index, network in enumerate(networks, start=2):
        if (card := cards.get(key_of(network))) is not None:
            found.append(
                {
                    "id": network.get("id", index),
                    "type": network["type"],
                    "name": network.get("name", ""),
                    "macAddress": card.mac,
                    "virtualMachineMACAddressName": card.object,
                }
            )
    return found
