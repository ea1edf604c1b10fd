"""Sets of IPv4 addresses, as ranges of numbers: sorted, and apart from each other by at least one address."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Final

Spans = tuple[tuple[int, int], ...]
"""Each is (first, last)."""

EVERY: Final[Spans] = ((0, (1 << 32) - 1),)


def of_network(network: IPv4Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


def united(some: Iterable[tuple[int, int]]) -> Spans:
    """All that is in any of them, which may be in any order and overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(some):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def without(spans: Spans, holes: Spans) -> Spans:
    """What is in ``spans`` and in none of ``holes``."""
    found: list[tuple[int, int]] = []
    for first, last in spans:
        for begins, ends in holes:
            if ends < first or begins > last:
                continue
            if begins > first:
                found.append((first, begins - 1))
            first = ends + 1
        if first <= last:
            found.append((first, last))
    return tuple(found)


def holds(spans: Spans, address: int) -> bool:
    at = bisect_right(spans, (address, EVERY[0][1]))
    return at > 0 and spans[at - 1][0] <= address <= spans[at - 1][1]


def text(span: tuple[int, int]) -> str:
    """As nft has it."""
    first, last = (str(IPv4Address(end)) for end in span)
    return first if first == last else f"{first}-{last}"
