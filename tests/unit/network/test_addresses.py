"""Which addresses are leased, and the names that follow."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.network.addresses import (
    contains,
    gateway_of,
    lowest_free,
    mac_for,
    tap_name,
)

SMALL = IPv4Network("10.66.10.0/29")
NEXT = IPv4Network("10.66.20.0/30")


def addresses(*texts: str) -> list[IPv4Address]:
    return [IPv4Address(text) for text in texts]


def test_the_first_lease_follows_the_gateway() -> None:
    assert lowest_free([SMALL], []) == IPv4Address("10.66.10.2")


def test_the_lowest_gap_is_filled_first() -> None:
    assert lowest_free([SMALL], addresses("10.66.10.2", "10.66.10.4")) == IPv4Address("10.66.10.3")


def test_the_next_range_serves_when_the_first_is_full_and_then_none() -> None:
    taken = addresses(*(f"10.66.10.{n}" for n in range(2, 7)))
    assert lowest_free([SMALL, NEXT], taken) == IPv4Address("10.66.20.2")
    assert lowest_free([SMALL, NEXT], [*taken, IPv4Address("10.66.20.2")]) is None


@pytest.mark.parametrize("cidr", ["10.0.0.0/31", "10.0.0.0/32"])
def test_a_range_without_room_for_a_vm_leases_nothing(cidr: str) -> None:
    assert lowest_free([IPv4Network(cidr)], []) is None


@given(st.sets(st.integers(0, 15)))
def test_a_leased_address_is_free_lowest_and_leasable(offsets: set[int]) -> None:
    cidr = IPv4Network("192.168.7.16/28")
    taken = {cidr[offset] for offset in offsets}
    free = [a for a in cidr if a not in taken and contains([cidr], a)]
    assert lowest_free([cidr], taken) == (free[0] if free else None)


def test_thousands_taken_of_a_large_range_cost_milliseconds() -> None:
    cidr = IPv4Network("10.0.0.0/16")
    taken = {cidr[n] for n in range(2, 30_000)}
    start = time.thread_time()
    assert lowest_free([cidr], taken) == cidr[30_000]
    assert time.thread_time() - start < 0.1


def test_network_gateway_and_broadcast_cannot_be_asked_for() -> None:
    for last in (0, 1, 7, 8):
        assert not contains([SMALL], IPv4Address(f"10.66.10.{last}"))
    assert contains([SMALL], IPv4Address("10.66.10.6"))


def test_the_gateway_is_the_first_host_of_the_addresss_range() -> None:
    assert gateway_of([SMALL, NEXT], IPv4Address("10.66.20.2")) == IPv4Address("10.66.20.1")
    with pytest.raises(ValueError, match=r"10\.9\.9\.9"):
        gateway_of([SMALL], IPv4Address("10.9.9.9"))


def test_a_mac_is_stable_unicast_and_locally_administered() -> None:
    uid = str(uuid4())
    first = int(mac_for(uid, 0)[:2], 16)
    assert mac_for(uid, 0) == mac_for(uid, 0) != mac_for(uid, 1)
    assert first & 0b11 == 0b10


def test_a_tap_is_named_by_its_uid_within_the_kernels_limit() -> None:
    assert tap_name("hv", "0123abcd-4567-4567-8567-0123456789ab") == "hv0123abcd456"
    assert len(tap_name("abcd", str(uuid4()))) == 15
    with pytest.raises(ValueError, match="prefix"):
        tap_name("abcde", str(uuid4()))
    with pytest.raises(ValueError, match="UUID"):
        tap_name("hv", "../../etc")
