"""Who asks a machine of this node, and whom it asks, sees the other's own address. By nft, blocking.

kube-proxy has whoever is none of the Pods' range, and whoever asks by a node's port, ask under the node's address,
in case answers came another way; some of the Pods' networks do so as well. Those of machines of this node come
through it. Who is asked would else not know who asks, and let everybody in who can ask by its own node.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address
from typing import Final

from hyperd.network import nft

_MARK: Final = 1 << 14
"""By which kube-proxy knows whom to masquerade, unless it is told another bit."""


def ensure(instance: str, machines: Mapping[IPv4Address, IPv4Address]) -> None:
    """Of these machines, whose Pods have these addresses, and of no others. Raises TemporaryError."""
    table = f"inet {nft.table_name(instance)}"
    _nft(
        f"add table {table}\n"
        f"delete table {table}\n"
        f"table {table} {{\n"
        f"{_set('machines', machines)}{_set('reached', {*machines, *machines.values()})}"
        f"  chain unmasked {{\n"
        f"    type filter hook postrouting priority srcnat - 1; policy accept;\n"
        f"    ip saddr @machines meta mark set meta mark & {~_MARK & 0xFFFFFFFF:#x}\n"
        f"  }}\n"
        # What is translated to its own address once is translated by nobody else.
        f"  chain reaching {{\n"
        f"    type nat hook postrouting priority srcnat - 1; policy accept;\n"
        f"    fib saddr type != local ip daddr @reached snat ip to ip saddr\n"
        f"  }}\n"
        f"}}\n"
    )


def _set(name: str, addresses: Collection[IPv4Address]) -> str:
    elements = f"elements = {{ {', '.join(map(str, sorted(addresses)))} }};" if addresses else ""
    return f"  set {name} {{ type ipv4_addr; {elements} }}\n"


def remove(instance: str) -> None:
    """Raises TemporaryError; without nft there is nothing."""
    if nft.is_installed():
        table = f"inet {nft.table_name(instance)}"
        _nft(f"add table {table}\ndelete table {table}\n")


def _nft(script: str) -> None:
    nft.run(script, does="let machines ask under their own addresses", needs="Machines' Pods need")
