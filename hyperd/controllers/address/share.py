"""Fair shares of the addresses: whatever one namespace takes, the next ones find some.

Of all addresses ``network.kept_addresses_percent`` are only for namespaces that have fewer than ``FLOOR``. Nothing
that was given is taken back, and what a namespace has already stays its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from hyperd.network import addresses

FLOOR: Final = 4


def refusal(
    namespace: str,
    *,
    mine: Collection[IPv4Address],
    taken: Collection[IPv4Address],
    cidrs: Sequence[IPv4Network],
    percent: int,
) -> str:
    """Why ``namespace``, which has ``mine``, gets no more of ``cidrs``; empty if it does, or if none is free.

    What lies in no range any more is nobody's share.
    """
    total = addresses.count(cidrs)
    held, free = addresses.count_in(cidrs, mine), total - addresses.count_in(cidrs, taken)
    if free <= 0 or free > total * percent // 100 or held < FLOOR:
        return ""
    return (
        f'Namespace "{namespace}" has {held} of {total} addresses, and the {free} that are left are kept for '
        f"namespaces with fewer than {FLOOR}: release some, or have an administrator add a range to "
        "network.virtual_machine_cidrs or lower network.kept_addresses_percent."
    )
