"""One namespace does not take every address; the sum is played through, as the controller counts it."""

from __future__ import annotations

from collections import Counter, defaultdict
from ipaddress import IPv4Address, IPv4Network

import pytest

from hyperd.controllers.address.share import FLOOR, refusal
from hyperd.network import addresses


def play(cidr: str, percent: int, wanted: list[str]) -> Counter[str]:
    """Who has how many after all in ``wanted`` have asked, one after the other."""
    cidrs, held = [IPv4Network(cidr)], defaultdict[str, set[IPv4Address]](set)
    for namespace in wanted:
        taken = set[IPv4Address]().union(*held.values())
        free = addresses.lowest_free(cidrs, taken)
        mine = held[namespace]
        if free and not refusal(namespace, mine=mine, taken=taken, cidrs=cidrs, percent=percent):
            mine.add(free)
    return Counter({namespace: len(mine) for namespace, mine in held.items()})


@pytest.mark.parametrize("cidr", ["10.66.10.0/24", "10.66.0.0/22", "10.66.10.0/25"])
def test_whoever_comes_after_one_that_takes_all_finds_some(cidr: str) -> None:
    total = addresses.count([IPv4Network(cidr)])
    held = play(cidr, 12, ["eve"] * 2 * total + ["ann"] * 10 + ["bob"] * 2 + ["eve"] * total)
    assert held["eve"] == total - total * 12 // 100
    assert (held["ann"], held["bob"]) == (FLOOR, 2)


def numbered(count: int, network: str = "10.66.10.0/24") -> set[IPv4Address]:
    """The first addresses that may be leased from ``network``."""
    return {IPv4Network(network)[number + 2] for number in range(count)}


def test_who_is_refused_is_told_what_to_do_and_nothing_is_kept_where_that_is_not_wanted() -> None:
    cidrs = [IPv4Network("10.66.10.0/24")]
    told = refusal("eve", mine=numbered(223), taken=numbered(223), cidrs=cidrs, percent=12)
    assert '"eve" has 223 of 253 addresses, and the 30 that are left' in told
    assert "network.kept_addresses_percent" in told
    assert play("10.66.10.0/24", 0, ["eve"] * 300)["eve"] == 253


def test_addresses_of_a_range_that_was_replaced_are_of_nobodys_share() -> None:
    cidrs = [IPv4Network("10.67.0.0/28")]
    former = numbered(200)
    assert not refusal("eve", mine=former, taken=former | numbered(5, "10.67.0.0/28"), cidrs=cidrs, percent=12)
    mine = former | numbered(4, "10.67.0.0/28")
    told = refusal("eve", mine=mine, taken=former | numbered(12, "10.67.0.0/28"), cidrs=cidrs, percent=12)
    assert '"eve" has 4 of 13 addresses, and the 1 that are left' in told


def test_where_nothing_is_left_nothing_is_kept() -> None:
    full = numbered(253)
    assert not refusal("eve", mine=full, taken=full, cidrs=[IPv4Network("10.66.10.0/24")], percent=12)


@pytest.mark.parametrize(("cidr", "count"), [("10.0.0.0/24", 253), ("10.0.0.0/30", 1), ("10.0.0.0/31", 0)])
def test_what_can_be_leased_is_counted(cidr: str, count: int) -> None:
    network = [IPv4Network(cidr)]
    assert addresses.count(network) == count
    assert sum(addresses.contains(network, address) for address in network[0]) == count
    assert addresses.count_in(network, network[0]) == count
