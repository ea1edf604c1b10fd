"""What may come from a guest's tap, by nft: a table per instance, a chain a tap. Blocking; called where taps are.

Under its own addresses alone its card sends IPv4 and ARP, and DHCP's questions: no IPv6, so no router
advertisements, no VLAN tags, and nothing that a DHCP server says. A tap's reverse path filter knows the address,
too, but not where the host says that all are to be loose.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path

from hyperd.network import nft

_ALL = Path("/proc/sys/net/ipv4/conf/all/rp_filter")


def is_let_loose() -> bool:
    """Whether the kernel takes a device's reverse path filter for loose, whatever is set for the device itself."""
    return _ALL.read_text().strip() == "2"


def script(instance: str, tap: str, mac: str, address: IPv4Address) -> str:
    """For nft: hold what comes from ``tap`` to ``mac`` and ``address``, whatever there was."""
    table, chain = f"netdev {nft.table_name(instance)}", f"card_{tap}"
    hook = f'{{ type filter hook ingress device "{tap}" priority 0; policy drop; }}'
    rules = (
        f"ether saddr != {mac} drop",
        f"arp saddr ether != {mac} drop",
        f"arp saddr ip {{ 0.0.0.0, {address} }} accept",
        "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
        f"ip saddr != {address} drop",
        "udp sport 67 udp dport 68 drop",
        f"ip saddr {address} accept",
    )
    return (
        f"add table {table}\n"
        # One that is left of an earlier device of this name holds nothing.
        f"add chain {table} {chain}\n"
        f"delete chain {table} {chain}\n"
        f"add chain {table} {chain} {hook}\n" + "".join(f"add rule {table} {chain} {rule}\n" for rule in rules)
    )


def hold(instance: str, tap: str, mac: str, address: IPv4Address) -> None:
    """Raises TemporaryError."""
    run(script(instance, tap, mac, address))


def keep_only(instance: str, taps: Collection[str]) -> None:
    """Remove what is for other taps than these; without any, the table. Without nft there is none."""
    table = f"netdev {nft.table_name(instance)}"
    nft.keep_cards("netdev", instance, taps, run=run, removal=lambda tap: f"delete chain {table} card_{tap}\n")


def run(text: str) -> str:
    """What nft prints. Raises TemporaryError."""
    return nft.run(
        text,
        does="hold a guest's card to its addresses",
        needs="Machines' Pods, and hosts whose net.ipv4.conf.all.rp_filter is 2, need",
    )
