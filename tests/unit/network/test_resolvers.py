"""Which DNS servers guests are told."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hyperd.errors import PermanentError
from hyperd.network.resolvers import dns_servers


def test_configured_servers_win_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    assert dns_servers(("192.0.2.1",), files=()) == (IPv4Address("192.0.2.1"),)
    with pytest.raises(PermanentError, match=r"network\.dns_servers.*'dns\.example'"):
        dns_servers(("dns.example",), files=())


def test_a_resolver_on_loopback_is_passed_over_for_its_upstream(tmp_path: Path) -> None:
    stub, upstream = tmp_path / "stub", tmp_path / "upstream"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    upstream.write_text("# comment\nnameserver 192.0.2.7\nnameserver fe80::1%eth0\nnameserver 192.0.2.8\n")
    assert dns_servers((), files=(stub, upstream)) == (IPv4Address("192.0.2.7"), IPv4Address("192.0.2.8"))


def test_a_host_without_resolvers_offers_none(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"nameserver\nnameserver \xff\n")
    assert dns_servers((), files=(tmp_path / "missing", tmp_path / "odd")) == ()
