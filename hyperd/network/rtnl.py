"""Links, addresses, routes and rules of the kernel, as far as VM networks need them.

Thin and typed over pyroute2: it packs, sends and reads the messages. Its own dumps fetch everything and choose in
Python, which would make the taps of a thousand VMs a million messages; so a dump here carries its filter to the
kernel. Blocking, one socket a job, for use in worker threads only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from socket import AF_INET
from typing import Any, TypeAlias

from pyroute2 import IPRoute, NetlinkError
from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, nlmsg
from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_GETRULE
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

Netlink: TypeAlias = IPRoute
"""A route netlink socket in the network namespace of the thread that opened it."""

_DUMP_ATTEMPTS = 5
_IFF_UP = 0x1
_SKIP_STATISTICS = 0x8
_BLACKHOLE = 6
_OF_SERVICES = "kube-ipvs0"
_SCOPE_LINK = 253
BLACKHOLE_METRIC = 100


@dataclass(frozen=True)
class Link:
    """A network device. ``mac`` is lower-case hex with colons; ``alias`` is empty when there is none."""

    index: int
    name: str
    mac: str
    mtu: int
    alias: str
    up: bool
    master: int = 0
    """The bridge that it is a port of."""


@dataclass(frozen=True)
class Route:
    """A route of one table; ``device`` is 0 for a blackhole."""

    destination: IPv4Network
    device: int
    protocol: int
    blackhole: bool
    gateway: IPv4Address | None = None


@dataclass(frozen=True)
class Rule:
    """``to destination lookup table``."""

    destination: IPv4Network
    table: int
    priority: int
    protocol: int


@contextmanager
def opened() -> Iterator[Netlink]:
    """A socket for one job. What the kernel refuses leaves the block as OSError with the kernel's errno."""
    try:
        with IPRoute(strict_check=True) as ip:  # else the kernel ignores a dump's filter
            yield ip
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


@contextmanager
def _unless(*codes: int) -> Iterator[None]:
    """Take these errors for done."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise


def _dump(ip: Netlink, type_: int, message: nlmsg, **fields: object) -> list[Any]:
    """All objects that match ``fields``; consistent, or OSError EAGAIN after some attempts."""
    message["header"] = {"type": type_, "flags": NLM_F_REQUEST | NLM_F_DUMP}
    for name, value in fields.items():
        message[name] = value
    for _ in range(_DUMP_ATTEMPTS):
        found: list[Any] = ip.nlm_request_batch([message])
        if not any(entry["header"]["flags"] & NLM_F_DUMP_INTR for entry in found):
            return found
    raise OSError(errno.EAGAIN, "the kernel's tables change too fast to be listed")


def find_link(ip: Netlink, name: str) -> Link | None:
    """The device called ``name``, or None."""
    with _unless(errno.ENODEV):
        return _link(ip.link("get", ifname=name, ext_mask=_SKIP_STATISTICS)[0])
    return None


def taps(ip: Netlink) -> list[Link]:
    """All tun and tap devices of the namespace."""
    kind = ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "tun")]})
    attrs = [("IFLA_EXT_MASK", _SKIP_STATISTICS), kind]
    return [_link(entry) for entry in _dump(ip, RTM_GETLINK, ifinfmsg(), attrs=attrs)]


def _link(entry: Any) -> Link:
    return Link(
        index=entry["index"],
        name=entry.get("ifname"),
        mac=entry.get("address") or "",
        mtu=entry.get("mtu"),
        alias=entry.get("ifalias") or "",
        up=bool(entry["flags"] & _IFF_UP),
        master=entry.get("master") or 0,
    )


def bridge_index(ip: Netlink, name: str) -> int | None:
    """The bridge called ``name``; None where there is none, or another device is called so."""
    with _unless(errno.ENODEV):
        entry = ip.link("get", ifname=name, ext_mask=_SKIP_STATISTICS)[0]
        information = entry.get("linkinfo")
        return entry["index"] if information and information.get("kind") == "bridge" else None
    return None


def set_alias(ip: Netlink, index: int, alias: str) -> None:
    ip.link("set", index=index, ifalias=alias)


def set_up(ip: Netlink, index: int, *, mac: str, mtu: int) -> None:
    """Set the hardware address and the MTU, and bring the device up."""
    ip.link("set", index=index, address=mac, mtu=mtu, state="up")


def move_link(ip: Netlink, index: int, namespace: int) -> None:
    """Hand the device over to the network namespace that the descriptor is of; it is down there."""
    ip.link("set", index=index, net_ns_fd=namespace)


def set_master(ip: Netlink, index: int, master: int) -> None:
    """Have the device be a port of the bridge ``master``."""
    ip.link("set", index=index, master=master)


def lead_no_tree(ip: Netlink, index: int) -> None:
    """Have what is behind a bridge's port never become the root of the bridge's spanning tree."""
    ip.brport("set", index=index, protect=1)


def delete_link(ip: Netlink, index: int) -> None:
    """Remove the device; its addresses and routes go with it. Nothing happens when there is none."""
    with _unless(errno.ENODEV):
        ip.link("del", index=index)


def addresses(ip: Netlink, index: int) -> list[tuple[IPv4Address, int]]:
    """IPv4 addresses of a device with their prefix lengths."""
    found = _dump(ip, RTM_GETADDR, ifaddrmsg(), family=AF_INET, index=index)
    return [(IPv4Address(entry.get("local")), entry["prefixlen"]) for entry in found]


def all_addresses(ip: Netlink) -> frozenset[IPv4Address]:
    """IPv4 addresses of all devices, but for those of Services, which kube-proxy may have on one of its own."""
    found = _dump(ip, RTM_GETADDR, ifaddrmsg(), family=AF_INET)
    return frozenset(IPv4Address(one.get("local")) for one in found if one.get("label") != _OF_SERVICES)


def add_address(ip: Netlink, index: int, address: IPv4Address) -> None:
    """Put ``address``/32 on the device."""
    ip.addr("replace", index=index, address=str(address), prefixlen=32)


def delete_address(ip: Netlink, index: int, address: IPv4Address, length: int) -> None:
    ip.addr("del", index=index, address=str(address), prefixlen=length)


def routes(ip: Netlink, table: int, *, device: int = 0, protocol: int = 0) -> list[Route]:
    """Routes of ``table``; of one device and one protocol, or of all."""
    attrs = [("RTA_TABLE", table), *([("RTA_OIF", device)] if device else [])]
    with _unless(errno.ENOENT):  # a table is made by its first route
        found = _dump(ip, RTM_GETROUTE, rtmsg(), family=AF_INET, proto=protocol, attrs=attrs)
        return [_route(entry) for entry in found]
    return []


def _route(entry: Any) -> Route:
    return Route(
        destination=_network(entry),
        device=entry.get("oif") or 0,
        protocol=entry["proto"],
        blackhole=entry["type"] == _BLACKHOLE,
        gateway=IPv4Address(gateway) if (gateway := entry.get("gateway")) else None,
    )


def _network(entry: Any) -> IPv4Network:
    return IPv4Network((entry.get("dst") or "0.0.0.0", entry["dst_len"]))


def add_host_route(ip: Netlink, address: IPv4Address, device: int, *, table: int, protocol: int) -> None:
    """``address``/32 through ``device``; replaces a route to the same address."""
    ip.route("replace", dst=f"{address}/32", oif=device, table=table, proto=protocol, scope=_SCOPE_LINK)


def delete_host_route(ip: Netlink, destination: IPv4Network, device: int, *, table: int) -> None:
    ip.route("del", dst=str(destination), oif=device, table=table, scope=_SCOPE_LINK)


def add_gateway_route(
    ip: Netlink, address: IPv4Address, gateway: IPv4Address, *, table: int, protocol: int
) -> None:
    """``address``/32 through ``gateway``, which is on a link; replaces a route to the same address."""
    (way,) = ip.route("get", dst=str(gateway))
    where = {"dst": f"{address}/32", "table": table, "proto": protocol}
    ip.route("replace", gateway=str(gateway), oif=way.get("oif"), **where)


def delete_gateway_route(ip: Netlink, address: IPv4Address, *, table: int, protocol: int) -> None:
    """Remove it. Nothing happens when there is none."""
    with _unless(errno.ESRCH):
        ip.route("del", dst=f"{address}/32", table=table, proto=protocol)


def add_blackhole(ip: Netlink, destination: IPv4Network, *, table: int, protocol: int) -> None:
    """Where packets to addresses of ``destination`` without a host route end."""
    ip.route("replace", **_blackhole(destination, table, protocol))


def delete_blackhole(ip: Netlink, destination: IPv4Network, *, table: int, protocol: int) -> None:
    """Remove it. Nothing happens when there is none."""
    with _unless(errno.ESRCH):
        ip.route("del", **_blackhole(destination, table, protocol))


def _blackhole(destination: IPv4Network, table: int, protocol: int) -> dict[str, object]:
    where = {"dst": str(destination), "table": table, "priority": BLACKHOLE_METRIC}
    return {**where, "proto": protocol, "type": "blackhole"}


def rules(ip: Netlink) -> list[Rule]:
    """IPv4 rules that send packets to a table by destination."""
    return [
        Rule(
            destination=_network(entry),
            table=entry.get("table"),
            priority=entry.get("priority") or 0,
            protocol=entry.get("protocol") or 0,
        )
        for entry in _dump(ip, RTM_GETRULE, fibmsg(), family=AF_INET)
        if entry["dst_len"]
    ]


def add_rule(ip: Netlink, rule: Rule) -> None:
    """Add ``rule`` unless it is there."""
    with _unless(errno.EEXIST):
        ip.rule("add", **_rule(rule))


def delete_rule(ip: Netlink, rule: Rule) -> None:
    """Remove it. Nothing happens when there is none."""
    with _unless(errno.ENOENT):
        ip.rule("del", **_rule(rule))


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "dst": str(rule.destination),
        "table": rule.table,
        "priority": rule.priority,
        "protocol": rule.protocol,
        "action": "to_tbl",
    }
