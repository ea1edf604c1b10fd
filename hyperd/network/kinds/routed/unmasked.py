"""Machines of this node ask Services under their own addresses, by nft. Blocking; called in worker threads.

kube-proxy has whoever is none of the Pods' range ask under the node's address, in case answers came another way.
Those to machines of this node come through it. Who is asked would else not know who asks, and let everybody in
that is on its own node.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Final

from hyperd.network import nft

_MARK: Final = 1 << 14
"""By which kube-proxy knows whom to masquerade, unless it is told another bit."""


def ensure(instance: str, machines: Collection[IPv4Address]) -> None:
    """Of these machines, and of no others. Raises TemporaryError."""
    table = f"inet {nft.table_name(instance)}"
    elements = f"elements = {{ {', '.join(map(str, sorted(machines)))} }};" if machines else ""
    _nft(
        f"add table {table}\n"
        f"delete table {table}\n"
        f"table {table} {{\n"
        f"  set machines {{ type ipv4_addr; {elements} }}\n"
        f"  chain unmasked {{\n"
        f"    type filter hook postrouting priority srcnat - 1; policy accept;\n"
        f"    ip saddr @machines meta mark set meta mark & {~_MARK & 0xFFFFFFFF:#x}\n"
        f"  }}\n"
        f"}}\n"
    )


def remove(instance: str) -> None:
    """Raises TemporaryError; without nft there is nothing."""
    if nft.is_installed():
        table = f"inet {nft.table_name(instance)}"
        _nft(f"add table {table}\ndelete table {table}\n")


def _nft(script: str) -> None:
    nft.run(script, does="let machines ask under their own addresses", needs="Machines' Pods need")
