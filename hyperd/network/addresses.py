"""Which address a VM gets and what follows from it: gateway, MAC, name of the tap.

Pure functions. The rule kept here: the first host address of a CIDR is the gateway's and is never leased, nor
are the network and the broadcast address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID

MAX_INTERFACE_NAME = 15
_UID_DIGITS = 11


def lowest_free(cidrs: Sequence[IPv4Network], taken: Collection[IPv4Address]) -> IPv4Address | None:
    """The lowest address that may be leased, CIDR by CIDR; None when all are taken.

    The cost grows with ``taken``, not with the size of the CIDRs.
    """
    numbers = {int(address) for address in taken}
    for cidr in cidrs:
        first = int(cidr.network_address) + 2
        for number in range(first, int(cidr.broadcast_address)):
            if number not in numbers:
                return IPv4Address(number)
    return None


def count(cidrs: Iterable[IPv4Network]) -> int:
    """How many addresses may be leased from ``cidrs``."""
    return sum(max(0, cidr.num_addresses - 3) for cidr in cidrs)


def count_in(cidrs: Iterable[IPv4Network], some: Iterable[IPv4Address]) -> int:
    """How many of ``some`` may be leased from ``cidrs``."""
    ranges = [range(int(cidr.network_address) + 2, int(cidr.broadcast_address)) for cidr in cidrs]
    return sum(any(number in one for one in ranges) for number in map(int, some))


def network_of(cidrs: Iterable[IPv4Network], address: IPv4Address) -> IPv4Network | None:
    """The CIDR that ``address`` lies in, or None."""
    return next((cidr for cidr in cidrs if address in cidr), None)


def contains(cidrs: Iterable[IPv4Network], address: IPv4Address) -> bool:
    """Whether ``address`` may be leased from ``cidrs``: inside one, and neither network, gateway nor broadcast."""
    cidr = network_of(cidrs, address)
    if cidr is None:
        return False
    return int(cidr.network_address) + 1 < int(address) < int(cidr.broadcast_address)


def gateway_of(cidrs: Iterable[IPv4Network], address: IPv4Address) -> IPv4Address:
    """The gateway of the CIDR that ``address`` lies in. Raises ValueError outside all CIDRs."""
    cidr = network_of(cidrs, address)
    if cidr is None:
        raise ValueError(f"{address} is in none of the virtual machine CIDRs")
    return cidr.network_address + 1


def mac_for(uid: str, index: int) -> str:
    """The MAC of the VM's network card ``index``, from 0: stable, locally administered, unicast."""
    digest = hashlib.sha256(f"{uid}/{index}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x52, 0x54, *digest[:4]))


def tap_name(prefix: str, uid: str) -> str:
    """The name of the VM's tap: prefix and the uid's first digits, within the kernel's 15 characters.

    Raises ValueError when ``uid`` is not a UUID or the prefix leaves no room.
    """
    name = prefix + UUID(uid).hex[:_UID_DIGITS]
    if len(name) > MAX_INTERFACE_NAME:
        raise ValueError(f"tap prefix {prefix!r} is longer than {MAX_INTERFACE_NAME - _UID_DIGITS} characters")
    return name
