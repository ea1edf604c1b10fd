"""One namespace does not take every address; the sum is played through, as the controller counts it."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Network

import pytest

from hyperd.controllers.address.share import FLOOR, refusal
from hyperd.network import addresses


def play(total: int, percent: int, wanted: list[str]) -> Counter[str]:
    """Who has how many after all in ``wanted`` have asked, one after the other."""
    held = Counter[str]()
    for namespace in wanted:
        free = total - held.total()
        if free and not refusal(namespace, held=held[namespace], free=free, total=total, percent=percent):
            held[namespace] += 1
    return held


@pytest.mark.parametrize("cidr", ["10.66.10.0/24", "10.66.0.0/22", "10.66.10.0/25"])
def test_whoever_comes_after_one_that_takes_all_finds_some(cidr: str) -> None:
    total = addresses.count([IPv4Network(cidr)])
    held = play(total, 12, ["eve"] * 2 * total + ["ann"] * 10 + ["bob"] * 2 + ["eve"] * total)
    assert held["eve"] == total - total * 12 // 100
    assert (held["ann"], held["bob"]) == (FLOOR, 2)


def test_who_is_refused_is_told_what_to_do_and_nothing_is_kept_where_that_is_not_wanted() -> None:
    told = refusal("eve", held=223, free=30, total=253, percent=12)
    assert '"eve" has 223 of 253 addresses' in told
    assert "network.kept_addresses_percent" in told
    assert play(253, 0, ["eve"] * 300)["eve"] == 253


@pytest.mark.parametrize(("cidr", "count"), [("10.0.0.0/24", 253), ("10.0.0.0/30", 1), ("10.0.0.0/31", 0)])
def test_what_can_be_leased_is_counted(cidr: str, count: int) -> None:
    network = [IPv4Network(cidr)]
    assert addresses.count(network) == count
    assert sum(addresses.contains(network, address) for address in network[0]) == count
