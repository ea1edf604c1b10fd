"""Taps, routes and rules in a real kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pyroute2.netlink import nlmsg

from hyperd.errors import PermanentError, TemporaryError
from hyperd.network import rtnl
from hyperd.network.addresses import tap_name
from hyperd.network.kinds.routed.host import HostNetwork, OwnedTap, TapSpec
from hyperd.settings import NetworkSettings
from tests.host.network.conftest import ConnectGuest
from tests.host.network.lab import run

GATEWAY = IPv4Address("10.66.10.1")


def spec(last: int = 2) -> TapSpec:
    uid = str(uuid4())
    address = IPv4Address(f"10.66.10.{last}")
    return TapSpec(uid=uid, name=tap_name("hv", uid), address=address, gateway=GATEWAY, mtu=1450)


def ip(*argv: str) -> list[Any]:
    output = run("ip", "-d", "-j", *argv).stdout
    return list(json.loads(output)) if output.strip() else []


def routes() -> dict[str, str]:
    """Destination → device, or the type of a route without one."""
    return {r["dst"]: r.get("dev", r["type"]) for r in ip("route", "show", "table", "1490")}


async def test_a_tap_is_made_as_specified(network: HostNetwork) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    (link,) = ip("link", "show", tap.name)
    assert link["address"] == "02:a9:fe:00:00:01"
    assert link["mtu"] == 1450
    assert "UP" in link["flags"]
    assert link["ifalias"] == f"hyperd:test:{tap.uid}"
    assert link["linkinfo"]["info_data"]["persist"]
    assert link["linkinfo"]["info_data"]["vnet_hdr"]
    assert not link["linkinfo"]["info_data"]["multi_queue"]
    (device,) = ip("address", "show", tap.name)
    assert [(a["local"], a["prefixlen"]) for a in device["addr_info"]] == [("10.66.10.1", 32)]
    assert routes() == {"10.66.10.2": tap.name, "10.66.10.0/24": "blackhole"}
    assert await network.inventory() == [OwnedTap(tap.name, tap.uid)]


async def test_ensuring_a_right_tap_changes_nothing(network: HostNetwork) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    before = ip("link", "show", tap.name), routes()
    await network.ensure_tap(tap)
    assert (ip("link", "show", tap.name), routes()) == before


async def test_a_tap_costs_as_little_beside_many_as_beside_none(
    network: HostNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, as a time says how busy the host is: dumps of the kernel's tables, and what they answered."""
    dumps: list[int] = []
    dump = rtnl._dump

    def counted(nl: rtnl.Netlink, type_: int, message: nlmsg, **fields: object) -> list[Any]:
        found = dump(nl, type_, message, **fields)
        dumps.append(len(found))
        return found

    async def cost(tap: TapSpec) -> tuple[list[int], list[int]]:
        dumps.clear()
        await network.ensure_tap(tap)
        made = list(dumps)
        dumps.clear()
        await network.ensure_tap(tap)
        return made, list(dumps)

    monkeypatch.setattr(rtnl, "_dump", counted)
    first = await cost(spec(2))
    for last in range(3, 30):
        await network.ensure_tap(spec(last))
    assert await cost(spec(30)) == first
    assert len(first[1]) <= 4


async def test_what_drifted_is_repaired(network: HostNetwork) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    run("ip", "link", "set", tap.name, "down")  # the kernel drops its routes without a word
    run("ip", "address", "add", "192.0.2.1/24", "dev", tap.name)
    switch = f"net.ipv4.conf.{tap.name}.proxy_arp"
    run("sysctl", "-w", f"{switch}=0")
    await network.ensure_tap(tap)
    assert routes()["10.66.10.2"] == tap.name
    (device,) = ip("address", "show", tap.name)
    assert [a["local"] for a in device["addr_info"]] == ["10.66.10.1"]
    assert run("sysctl", "-n", switch).stdout.strip() == "1"


async def test_a_vm_that_got_another_address_leaves_no_route_behind(network: HostNetwork) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    await network.ensure_tap(replace(tap, address=IPv4Address("10.66.10.9")))
    assert routes() == {"10.66.10.9": tap.name, "10.66.10.0/24": "blackhole"}


async def test_removing_a_tap_removes_its_route_and_is_repeatable(network: HostNetwork) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    await network.remove_tap(tap.name)
    await network.remove_tap(tap.name)
    assert routes() == {"10.66.10.0/24": "blackhole"}
    assert await network.inventory() == []


async def test_devices_of_others_are_neither_used_nor_removed(network: HostNetwork) -> None:
    tap = spec()
    run("ip", "tuntap", "add", tap.name, "mode", "tap", "vnet_hdr")
    run("ip", "link", "set", tap.name, "alias", f"hyperd:tester:{tap.uid}")
    with pytest.raises(PermanentError, match=tap.name):
        await network.ensure_tap(tap)
    await network.remove_tap(tap.name)
    assert ip("link", "show", tap.name)
    assert await network.inventory() == []


async def test_a_hostile_device_name_is_refused(network: HostNetwork) -> None:
    for name in ("../lo", "a/b", "", "hv 1", "x" * 16, "hv\n"):
        with pytest.raises(PermanentError):
            await network.ensure_tap(replace(spec(), name=name))


async def test_an_error_of_the_kernel_names_the_device(network: HostNetwork) -> None:
    tap = replace(spec(), mtu=70_000)
    with pytest.raises(TemporaryError, match=tap.name):
        await network.ensure_tap(tap)


async def test_rule_and_blackhole_that_were_lost_come_back_with_the_next_look_at_a_vm(
    network: HostNetwork,
) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    run("ip", "rule", "del", "priority", "1490")
    run("ip", "route", "flush", "table", "1490")
    await network.ensure_tap(tap)
    assert routes() == {"10.66.10.2": tap.name, "10.66.10.0/24": "blackhole"}
    assert [r["dst"] for r in ip("rule", "show", "table", "1490")] == ["10.66.10.0"]


async def test_a_second_start_changes_nothing(network: HostNetwork) -> None:
    await network.ensure_tap(spec())
    before = routes(), ip("rule", "show")
    await HostNetwork(NetworkSettings(), instance="test").start()
    assert (routes(), ip("rule", "show")) == before


async def test_a_range_that_left_the_settings_goes_once_no_vm_uses_it(network: HostNetwork) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    moved = HostNetwork(NetworkSettings(virtual_machine_cidrs=(IPv4Network("10.77.0.0/24"),)), instance="test")
    await moved.start()
    assert {r["dst"] for r in ip("rule", "show", "table", "1490")} == {"10.66.10.0", "10.77.0.0"}
    await moved.remove_tap(tap.name)
    await moved.start()
    assert {r["dst"] for r in ip("rule", "show", "table", "1490")} == {"10.77.0.0"}
    assert routes() == {"10.77.0.0/24": "blackhole"}


async def test_two_instances_share_a_host(network: HostNetwork) -> None:
    settings = NetworkSettings(virtual_machine_cidrs=(IPv4Network("10.77.0.0/24"),), tap_prefix="ov")
    other = HostNetwork(settings, instance="other")
    mine, uid = spec(), str(uuid4())
    await network.ensure_tap(mine)
    await other.start()
    theirs = TapSpec(uid, tap_name("ov", uid), IPv4Address("10.77.0.2"), IPv4Address("10.77.0.1"), 1500)
    await other.ensure_tap(theirs)
    assert await other.inventory() == [OwnedTap(theirs.name, uid)]
    await other.remove_all()
    assert await network.inventory() == [OwnedTap(mine.name, mine.uid)]
    assert routes() == {"10.66.10.2": mine.name, "10.66.10.0/24": "blackhole"}


async def test_remove_all_leaves_no_trace(network: HostNetwork) -> None:
    await network.ensure_tap(spec())
    await network.remove_all()
    await network.remove_all()
    assert routes() == {}
    assert ip("rule", "show", "table", "1490") == []
    assert [link["ifname"] for link in ip("link", "show")] == ["lo"]


async def test_nat_is_one_table_that_comes_and_goes_with_the_setting(namespace: None) -> None:
    for _ in range(2):
        await HostNetwork(NetworkSettings(nat=True), instance="a-b").start()
    rules = run("nft", "list", "ruleset").stdout
    assert rules.count("masquerade") == 1
    assert "table ip hyperd_a_b" in rules
    await HostNetwork(NetworkSettings(), instance="a-b").start()
    assert run("nft", "list", "ruleset").stdout == ""


async def test_guests_reach_host_and_each_other(network: HostNetwork, connect: ConnectGuest) -> None:
    first, second = spec(2), spec(3)
    for tap in (first, second):
        await network.ensure_tap(tap)
    one, two = connect(first), connect(second)
    one.configure("10.66.10.2/24", "10.66.10.1")
    two.configure("10.66.10.3/24", "10.66.10.1")
    assert one.pings("10.66.10.1")
    assert one.pings("10.66.10.3")
    assert run("busybox", "ping", "-c", "1", "-W", "2", "10.66.10.2").returncode == 0
    assert not one.pings("10.66.10.77"), "an address that no VM has answers nothing"


@pytest.mark.parametrize("filtering", ["0", "2"])
async def test_a_guest_cannot_speak_under_anothers_address(
    network: HostNetwork, connect: ConnectGuest, filtering: str
) -> None:
    """Whatever the host sets for all devices; 2 is Ubuntu's."""
    run("sysctl", "-w", f"net.ipv4.conf.all.rp_filter={filtering}")
    first, second = spec(2), spec(3)
    for tap in (first, second):
        await network.ensure_tap(tap)
    thief = connect(first)
    thief.configure("10.66.10.3/24", "10.66.10.1")
    run("ip", "neigh", "replace", "10.66.10.3", "lladdr", "02:00:00:00:00:09", "dev", second.name)
    thief.run("ip", "neigh", "replace", "10.66.10.1", "lladdr", "02:a9:fe:00:00:01", "dev", "eth0")

    def received() -> int:
        names, values = [
            line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Icmp:")
        ]
        return int(dict(zip(names, values, strict=True))["InEchos"])

    assert not thief.pings("10.66.10.1")
    assert received() == 0


async def test_what_holds_a_card_goes_with_its_tap(network: HostNetwork) -> None:
    run("sysctl", "-w", "net.ipv4.conf.all.rp_filter=2")
    first, second = spec(2), spec(3)
    for _ in range(2):
        for tap in (first, second):
            await network.ensure_tap(tap)
    await network.remove_tap(first.name)
    held = run("nft", "list", "ruleset").stdout
    assert first.name not in held
    assert f"ip saddr != {second.address} drop" in held
    # A daemon that was killed left this, and its next one finds it.
    run("ip", "link", "del", second.name)
    again = HostNetwork(NetworkSettings(), instance="test")
    await again.start()
    assert run("nft", "list", "ruleset").stdout == ""
