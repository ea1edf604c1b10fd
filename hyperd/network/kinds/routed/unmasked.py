"""Who asks a machine of this node, and a machine of it that asks another one, does so under its own address.

kube-proxy has whoever is none of the Pods' range, and whoever asks by a node's port, ask under the node's address,
in case answers came another way; NAT and some of the Pods' networks do so as well. Who is asked would not know who
asks, and let everybody in who can ask by its own node. Answers of machines of this node come through it, and nodes
that have machines know the ways to others. By nft; blocking, called in worker threads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from hyperd.network import nft

_INNER_TARGET: Final = 192
"""Bits from the beginning of an ICMP message to the target of the packet that it is about."""


def ensure(
    instance: str,
    machines: Mapping[IPv4Address, IPv4Address],
    pods: Collection[IPv4Address],
    ranges: Collection[IPv4Network],
) -> None:
    """Of these machines, whose Pods have these addresses; ``pods`` are those of all machines, on whatever nodes.

    ``ranges`` are those of machines' own addresses. Raises TemporaryError.
    """
    own = _elements(f"{machine} . {pod}" for machine, pod in machines.items())
    inner = f"icmp type redirect @th,{_INNER_TARGET},32"
    redirects = "".join(
        f"    {inner} & {int(one.netmask):#x} == {int(one.network_address):#x} drop\n" for one in ranges
    )
    table = f"inet {nft.table_name(instance)}"
    sets = {"machines": machines, "reached": {*machines, *machines.values()}, "pods": pods}
    _nft(
        f"add table {table}\n"
        f"delete table {table}\n"
        f"table {table} {{\n"
        f"{''.join(_set(name, addresses) for name, addresses in sets.items())}"
        f"  set own {{ type ipv4_addr . ipv4_addr; {own} }}\n"
        f"  chain reaching {{\n"
        f"    type nat hook postrouting priority srcnat - 1; policy accept;\n"
        # Itself a machine asks under another address, or its Pod would take that for a forged one.
        f"    ip saddr . ip daddr @own accept\n"
        # What is translated to its own address is translated by nobody else.
        f"    fib saddr type != local ip daddr @reached snat ip to ip saddr\n"
        f"    ip saddr @machines ip daddr @pods snat ip to ip saddr\n"
        f"  }}\n"
        # A Pod on the same bridge would be told to ask the machine's Pod itself, also once that is no more.
        f"  chain telling {{\n"
        f"    type filter hook output priority filter; policy accept;\n"
        f"{redirects}"
        f"  }}\n"
        f"}}\n"
    )


def _set(name: str, addresses: Collection[IPv4Address]) -> str:
    return f"  set {name} {{ type ipv4_addr; {_elements(map(str, addresses))} }}\n"


def _elements(some: Iterable[str]) -> str:
    found = ", ".join(sorted(some))
    return f"elements = {{ {found} }};" if found else ""


def remove(instance: str) -> None:
    """Raises TemporaryError; without nft there is nothing."""
    if nft.is_installed():
        table = f"inet {nft.table_name(instance)}"
        _nft(f"add table {table}\ndelete table {table}\n")


def _nft(script: str) -> None:
    nft.run(script, does="let machines ask under their own addresses", needs="Machines' Pods need")
