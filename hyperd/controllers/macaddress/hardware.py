"""Hardware addresses as text, how they are made, and how a machine's objects for them are called."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.resources.kinds.virtual_machine_mac_address import MAC_PATTERN
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import Network, VirtualMachine

_FORM: Final = re.compile(MAC_PATTERN)
_KEPT: Final = bytes.fromhex("5254")
"""Cards of the main network begin so."""
_OFF: Final = (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED)


def parsed(text: object) -> str:
    """In lower case; empty for what is no address."""
    return text.lower() if isinstance(text, str) and _FORM.fullmatch(text) else ""


def generate(instance: str) -> str:
    """A random address, locally administered and unicast, whose first half follows from ``instance``."""
    start = bytearray(hashlib.sha256(instance.encode()).digest()[:3])
    if start[0] & 0x0F not in (0x2, 0x6, 0xA, 0xE):
        start[0] = start[0] & 0xF0 | 0x2
    if bytes(start[:2]) == _KEPT:
        start[1] ^= 0xFF
    return ":".join(f"{byte:02x}" for byte in (*start, *secrets.token_bytes(3)))


def additional(machine: VirtualMachine) -> Iterator[Network]:
    """The networks of the spec that need an address each."""
    for network in machine["spec"].get("networks") or ():
        if network["type"] != NetworkType.MAIN:
            yield network


def object_name(machine: VirtualMachine, network: Network) -> str:
    """The VirtualMachineMACAddress for one of the machine's networks: the one that it names, else its own.

    The latter's name follows from uid and network, so that a crash makes no second.
    """
    named = network.get("virtualMachineMACAddressName")
    if named:
        return named
    meta = machine["metadata"]
    identity = f"{meta['uid']}/{network['type']}/{network.get('name', '')}"
    return f"{meta['name']}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def names_of(machine: VirtualMachine) -> list[str]:
    """The objects that the spec asks for, and those that the running guest has."""
    names = {object_name(machine, network) for network in additional(machine)}
    status = machine.get("status") or {}
    if status.get("phase") not in _OFF:
        names |= {one.get("virtualMachineMACAddressName") or "" for one in status.get("networks") or ()}
    return sorted(names - {""})
