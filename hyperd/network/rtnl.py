"""Links, addresses, routes and rules of the kernel, as far as VM networks need them.

Thin and typed over ``netlink``: each function is one message or one filtered dump. Errors are OSError.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from socket import AF_INET

from hyperd.network.netlink import CREATE, EXCLUSIVE, REPLACE, Netlink, attribute, attributes

_LINK = struct.Struct("=BBHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")

_DELLINK, _GETLINK, _SETLINK = 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 3, 4, 18, 20
_IFLA_INFO_KIND = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 6, 15
_FRA_DST, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 1, 6, 15, 21

_IFF_UP = 0x1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_UNICAST, _BLACKHOLE = 1, 6
_TO_TABLE = 1
BLACKHOLE_METRIC = 100


@dataclass(frozen=True)
class Link:
    """A network device. ``mac`` has six bytes on Ethernet; ``alias`` is empty when there is none."""

    index: int
    name: str
    mac: bytes
    mtu: int
    alias: str
    up: bool


@dataclass(frozen=True)
class Route:
    """A route of one table; ``device`` is 0 for a blackhole."""

    destination: IPv4Network
    device: int
    protocol: int
    blackhole: bool


@dataclass(frozen=True)
class Rule:
    """``to destination lookup table``."""

    destination: IPv4Network
    table: int
    priority: int
    protocol: int


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _number(data: bytes | None) -> int:
    return struct.unpack("=I", data)[0] if data and len(data) == 4 else 0


def _network(data: bytes | None, length: int) -> IPv4Network:
    return IPv4Network((data if data and len(data) == 4 else b"\0\0\0\0", length))


def find_link(nl: Netlink, name: str) -> Link | None:
    """The device called ``name``, or None."""
    body = _LINK.pack(0, 0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
    try:
        return _link(nl.get(_GETLINK, body))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def taps(nl: Netlink) -> list[Link]:
    """All tun and tap devices of the namespace."""
    kind = attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"tun\0"))
    return [_link(payload) for payload in nl.dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0, 0) + kind)]


def _link(payload: bytes) -> Link:
    _, _, _, index, flags, _ = _LINK.unpack_from(payload)
    found = attributes(payload, _LINK.size)
    return Link(
        index=index,
        name=found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        mac=found.get(_IFLA_ADDRESS, b""),
        mtu=_number(found.get(_IFLA_MTU)),
        alias=found.get(_IFLA_IFALIAS, b"").rstrip(b"\0").decode(errors="replace"),
        up=bool(flags & _IFF_UP),
    )


def set_alias(nl: Netlink, index: int, alias: str) -> None:
    nl.request(_SETLINK, _LINK.pack(0, 0, 0, index, 0, 0) + attribute(_IFLA_IFALIAS, alias.encode()))


def set_up(nl: Netlink, index: int, *, mac: bytes, mtu: int) -> None:
    """Set the hardware address and the MTU, and bring the device up."""
    body = _LINK.pack(0, 0, 0, index, _IFF_UP, _IFF_UP)
    nl.request(_SETLINK, body + attribute(_IFLA_ADDRESS, mac) + attribute(_IFLA_MTU, _u32(mtu)))


def delete_link(nl: Netlink, index: int) -> None:
    nl.request(_DELLINK, _LINK.pack(0, 0, 0, index, 0, 0))


def addresses(nl: Netlink, index: int) -> list[tuple[IPv4Address, int]]:
    """IPv4 addresses of a device with their prefix lengths."""
    found = []
    for payload in nl.dump(_GETADDR, _ADDRESS.pack(AF_INET, 0, 0, 0, index)):
        _, length, _, _, _ = _ADDRESS.unpack_from(payload)
        local = attributes(payload, _ADDRESS.size).get(_IFA_LOCAL)
        if local:
            found.append((IPv4Address(local), length))
    return found


def add_address(nl: Netlink, index: int, address: IPv4Address) -> None:
    """Put ``address``/32 on the device."""
    nl.request(_NEWADDR, _address(index, address, 32), flags=CREATE | REPLACE)


def delete_address(nl: Netlink, index: int, address: IPv4Address, length: int) -> None:
    nl.request(_DELADDR, _address(index, address, length))


def _address(index: int, address: IPv4Address, length: int) -> bytes:
    packed = address.packed
    body = _ADDRESS.pack(AF_INET, length, 0, _SCOPE_UNIVERSE, index)
    return body + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)


def routes(nl: Netlink, table: int, *, device: int = 0) -> list[Route]:
    """Routes of ``table``, of one device or of all."""
    body = _ROUTE.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_TABLE, _u32(table))
    if device:
        body += attribute(_RTA_OIF, _u32(device))
    try:
        payloads = nl.dump(_GETROUTE, body)
    except OSError as error:
        if error.errno == errno.ENOENT:  # a table is made by its first route
            return []
        raise
    return [_route(payload) for payload in payloads]


def _route(payload: bytes) -> Route:
    _, length, _, _, _, protocol, _, type_, _ = _ROUTE.unpack_from(payload)
    found = attributes(payload, _ROUTE.size)
    return Route(
        destination=_network(found.get(_RTA_DST), length),
        device=_number(found.get(_RTA_OIF)),
        protocol=protocol,
        blackhole=type_ == _BLACKHOLE,
    )


def add_host_route(nl: Netlink, address: IPv4Address, device: int, *, table: int, protocol: int) -> None:
    """``address``/32 through ``device``; replaces a route to the same address."""
    body = _ROUTE.pack(AF_INET, 32, 0, 0, 0, protocol, _SCOPE_LINK, _UNICAST, 0)
    body += attribute(_RTA_DST, address.packed) + attribute(_RTA_OIF, _u32(device))
    nl.request(_NEWROUTE, body + attribute(_RTA_TABLE, _u32(table)), flags=CREATE | REPLACE)


def delete_host_route(nl: Netlink, destination: IPv4Network, device: int, *, table: int) -> None:
    body = _ROUTE.pack(AF_INET, destination.prefixlen, 0, 0, 0, 0, _SCOPE_LINK, _UNICAST, 0)
    body += attribute(_RTA_DST, destination.network_address.packed) + attribute(_RTA_OIF, _u32(device))
    nl.request(_DELROUTE, body + attribute(_RTA_TABLE, _u32(table)))


def add_blackhole(nl: Netlink, destination: IPv4Network, *, table: int, protocol: int) -> None:
    """Where packets to addresses of ``destination`` without a host route end."""
    nl.request(_NEWROUTE, _blackhole(destination, table, protocol), flags=CREATE | REPLACE)


def delete_blackhole(nl: Netlink, destination: IPv4Network, *, table: int, protocol: int) -> None:
    nl.request(_DELROUTE, _blackhole(destination, table, protocol))


def _blackhole(destination: IPv4Network, table: int, protocol: int) -> bytes:
    body = _ROUTE.pack(AF_INET, destination.prefixlen, 0, 0, 0, protocol, _SCOPE_UNIVERSE, _BLACKHOLE, 0)
    body += attribute(_RTA_DST, destination.network_address.packed)
    return body + attribute(_RTA_TABLE, _u32(table)) + attribute(_RTA_PRIORITY, _u32(BLACKHOLE_METRIC))


def rules(nl: Netlink) -> list[Rule]:
    """IPv4 rules that send packets to a table by destination."""
    found = []
    for payload in nl.dump(_GETRULE, _ROUTE.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
        length = payload[1]
        values = attributes(payload, _ROUTE.size)
        protocol = values.get(_FRA_PROTOCOL, b"\0")[0]
        if length:
            found.append(
                Rule(
                    destination=_network(values.get(_FRA_DST), length),
                    table=_number(values.get(_FRA_TABLE)) or payload[4],
                    priority=_number(values.get(_FRA_PRIORITY)),
                    protocol=protocol,
                )
            )
    return found


def add_rule(nl: Netlink, rule: Rule) -> None:
    """Add ``rule`` unless it is there."""
    try:
        nl.request(_NEWRULE, _rule(rule), flags=CREATE | EXCLUSIVE)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise


def delete_rule(nl: Netlink, rule: Rule) -> None:
    nl.request(_DELRULE, _rule(rule))


def _rule(rule: Rule) -> bytes:
    body = _ROUTE.pack(AF_INET, rule.destination.prefixlen, 0, 0, 0, 0, 0, _TO_TABLE, 0)
    body += attribute(_FRA_DST, rule.destination.network_address.packed)
    body += attribute(_FRA_PRIORITY, _u32(rule.priority)) + attribute(_FRA_TABLE, _u32(rule.table))
    return body + attribute(_FRA_PROTOCOL, bytes((rule.protocol,)))
