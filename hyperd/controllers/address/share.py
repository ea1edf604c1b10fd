"""Fair shares of the addresses: whatever one namespace takes, the next ones find some.

Of all addresses ``network.kept_addresses_percent`` are only for namespaces that have fewer than ``FLOOR``. Nothing
that was given is taken back, and what a namespace has already stays its own.
"""

from __future__ import annotations

from typing import Final

FLOOR: Final = 4


def refusal(namespace: str, *, held: int, free: int, total: int, percent: int) -> str:
    """Why ``namespace``, which has ``held`` of ``total`` addresses, gets no more; empty if it does."""
    kept = total * percent // 100
    if free > kept or held < FLOOR:
        return ""
    return (
        f'Namespace "{namespace}" has {held} of {total} addresses, and the {free} that are left are kept for '
        f"namespaces with fewer than {FLOOR}: release some, or have an administrator add a range to "
        "network.virtual_machine_cidrs or lower network.kept_addresses_percent."
    )
