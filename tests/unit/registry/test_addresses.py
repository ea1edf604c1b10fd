from __future__ import annotations

import socket
from ipaddress import IPv4Network, ip_address

import pytest

from hyperd.errors import PermanentError, TemporaryError
from registry.addresses import AddressGuard, Pinned


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "169.254.169.254", "fe80::1", "100.100.100.200", "168.63.129.16", "fd00:ec2::254",
        "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255",
        "64:ff9b::7f00:1", "2002:7f00:1::1", "2002:a9fe:a9fe::",
    ],
)  # fmt: skip
def test_addresses_that_lead_back_to_the_host_or_to_metadata_are_refused(address: str) -> None:
    with pytest.raises(PermanentError, match=r"imports\.allowed"):
        AddressGuard([]).check(ip_address(address), 80)


@pytest.mark.parametrize("address", ["8.8.8.8", "10.255.1.2", "192.168.77.9", "2001:4860:4860::8888"])
def test_servers_on_the_internet_and_on_private_networks_are_fine(address: str) -> None:
    AddressGuard([]).check(ip_address(address), 80)


@pytest.mark.parametrize("address", ["10.66.10.2", "10.66.10.255", "::ffff:10.66.10.7", "64:ff9b::a42:a07"])
def test_the_address_of_a_guest_is_refused_unless_an_administrator_allows_it(address: str) -> None:
    pool = [IPv4Network("10.66.20.0/24"), IPv4Network("10.66.10.0/24")]
    with pytest.raises(PermanentError, match=r"virtual machines .* imports\.allowed"):
        AddressGuard([], pool).check(ip_address(address), 80)
    AddressGuard(["10.66.10.0/24:80"], pool).check(ip_address("10.66.10.2"), 80)
    AddressGuard([], pool).check(ip_address("10.66.11.2"), 80)


def test_an_address_of_this_host_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no route, hence no address of its own")
        own = probe.getsockname()[0]
    with pytest.raises(PermanentError, match="of this host"):
        AddressGuard([]).check(ip_address(own), 80)


@pytest.mark.parametrize(
    ("entry", "port", "passes"),
    [
        ("127.0.0.0/8", 80, True),
        ("127.0.0.1/32:8080", 8080, True),
        ("127.0.0.1/32:8080", 80, False),
        ("127.0.0.2/32", 80, False),
        ("::1/128", 80, False),
    ],
)
def test_an_entry_allows_its_network_and_its_port_only(entry: str, port: int, passes: bool) -> None:
    guard = AddressGuard([entry])
    if passes:
        guard.check(ip_address("127.0.0.1"), port)
        guard.check(ip_address("::ffff:127.0.0.1"), port)
        return
    with pytest.raises(PermanentError):
        guard.check(ip_address("127.0.0.1"), port)


def test_an_ipv6_entry_may_carry_brackets_and_a_port() -> None:
    AddressGuard(["[::1/128]:8080"]).check(ip_address("::1"), 8080)


@pytest.mark.parametrize("entry", ["localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8:http"])
def test_an_entry_that_is_no_network_is_named(entry: str) -> None:
    with pytest.raises(PermanentError, match=r"imports\.allowed"):
        AddressGuard([entry])


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "127.0.0.1"])
async def test_however_loopback_is_spelled_it_is_refused(host: str) -> None:
    with pytest.raises(PermanentError, match="loopback"):
        await AddressGuard([]).resolve(host, 80)


async def test_a_name_that_does_not_resolve_may_do_so_later() -> None:
    with pytest.raises(TemporaryError, match="cannot be resolved"):
        await AddressGuard([]).resolve("no-such-host.invalid", 80)


@pytest.mark.parametrize("host", ["a" * 300, "..", "exa\udc80mple"])
async def test_what_is_no_name_is_refused_without_a_traceback(host: str) -> None:
    with pytest.raises((PermanentError, TemporaryError)):
        await AddressGuard([]).resolve(host, 80)


async def test_a_connection_goes_where_the_check_looked_whatever_the_name_means_now() -> None:
    answers = await Pinned([ip_address("192.0.2.1")]).resolve("rebinding.example", 80)
    assert [answer["host"] for answer in answers] == ["192.0.2.1"]
