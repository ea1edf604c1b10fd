"""What a guest may not send into a bridge: one nft table per instance. Blocking; called in worker threads.

A frame must come from the card's own address, and say so in ARP too; VLAN tags are dropped, as a bridge that knows
none would hand them on into whatever trunk it has, and so is what bridges and switches say among themselves: one
that hears a spanning tree where hosts are shuts this host's port. Unless its network is for that, nothing of it
reaches this host.

Each tap has a chain of its own, so that its rules are replaced in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection

from hyperd.network import nft

_AMONG_BRIDGES = (
    "ether daddr & ff:ff:ff:ff:ff:00 == 01:80:c2:00:00:00",  # spanning trees, LACP, LLDP, 802.1X, registrations
    "ether daddr { 01:00:0c:cc:cc:cc, 01:00:0c:cc:cc:cd }",  # Cisco's
)


def ensure(instance: str, tap: str, mac: str, *, shut: bool) -> None:
    """Hold what comes from ``tap`` to ``mac``; ``shut`` keeps it from this host. Raises TemporaryError."""
    table, chain = f"bridge {nft.table_name(instance)}", f"card_{tap}"
    among = "".join(f"add rule {table} {chain} {match} drop\n" for match in _AMONG_BRIDGES)
    opened = f'delete element {table} shut {{ "{tap}" }}\n'
    _nft(
        f"add table {table}\n"
        f"add map {table} cards {{ type ifname : verdict; }}\n"
        f"add set {table} shut {{ type ifname; }}\n"
        f"add chain {table} sent {{ type filter hook prerouting priority -300; policy accept; }}\n"
        f"add chain {table} arriving {{ type filter hook input priority -300; policy accept; }}\n"
        f"add chain {table} {chain}\n"
        f"flush chain {table} sent\n"
        f"flush chain {table} arriving\n"
        f"flush chain {table} {chain}\n"
        f"add rule {table} sent iifname vmap @cards\n"
        f"add rule {table} arriving iifname @shut drop\n"
        # What is for the next bridge alone comes here, and not by the other way.
        f"add rule {table} arriving iifname vmap @cards\n"
        f"add rule {table} {chain} ether saddr != {mac} drop\n"
        f"add rule {table} {chain} ether type {{ 0x8100, 0x88a8 }} drop\n"
        f"{among}"
        f"add rule {table} {chain} ether type arp arp saddr ether != {mac} drop\n"
        f'add element {table} cards {{ "{tap}" : jump {chain} }}\n'
        f'add element {table} shut {{ "{tap}" }}\n'
        f"{'' if shut else opened}"
    )


def keep_only(instance: str, taps: Collection[str]) -> None:
    """Remove what is for other taps than these; without any, the table. Without nft there is none."""
    table = f"bridge {nft.table_name(instance)}"
    nft.keep_cards(
        "bridge",
        instance,
        taps,
        run=_nft,
        removal=lambda tap: (
            f'add element {table} cards {{ "{tap}" : jump card_{tap} }}\n'
            f'delete element {table} cards {{ "{tap}" }}\n'
            f'add element {table} shut {{ "{tap}" }}\n'
            f'delete element {table} shut {{ "{tap}" }}\n'
            f"delete chain {table} card_{tap}\n"
        ),
    )


def _nft(script: str) -> str:
    return nft.run(script, does="guard the bridge", needs="Additional networks need")
