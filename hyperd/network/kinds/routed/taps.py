"""One VM's tap on the host, made and kept as it must be. Blocking; called in worker threads.

Isolation is the kernel's own: reverse-path filtering drops what a guest sends under another address (nft does,
``card``, where the host makes it loose), IPv6 is off on the tap, redirects and source routes are ignored, and
forwarding is switched on for the tap alone.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from hyperd.errors import PermanentError
from hyperd.network import rtnl, tun
from hyperd.network.addresses import mac_for
from hyperd.network.rtnl import Netlink

_MARK = "hyperd"
_NAME = re.compile(r"[a-z][a-z0-9]{0,14}")
_PROC = Path("/proc/sys/net")

_SWITCHES = (
    ("ipv4/conf/{}/proxy_arp", "1"),
    ("ipv4/conf/{}/forwarding", "1"),
    ("ipv4/conf/{}/rp_filter", "1"),
    ("ipv4/conf/{}/accept_redirects", "0"),
    ("ipv4/conf/{}/send_redirects", "0"),
    ("ipv4/conf/{}/accept_source_route", "0"),
    ("ipv4/neigh/{}/proxy_delay", "0"),
)
_IPV6_OFF = "ipv6/conf/{}/disable_ipv6"


@dataclass(frozen=True)
class TapSpec:
    """A tap as it must be.

    ``owner`` is the user id that may open it besides root. libvirtd opens it as root and hands it over, so the
    default lets no QEMU open another guest's tap.
    """

    uid: str
    name: str
    address: IPv4Address
    gateway: IPv4Address
    mtu: int
    owner: int = 0

    @property
    def mac(self) -> str:
        """Of the guest's card."""
        return mac_for(self.uid, 0)


@dataclass(frozen=True)
class OwnedTap:
    """A tap of this instance, by its mark."""

    name: str
    uid: str


@dataclass(frozen=True)
class Routing:
    """Where the instance keeps its routes, and the MAC that every tap shows its guest."""

    instance: str
    table: int
    protocol: int
    mac: str


def mark(instance: str, uid: str) -> str:
    """The ``ifalias`` that makes a tap ours."""
    return f"{_MARK}:{instance}:{uid}"


def ensure(nl: Netlink, spec: TapSpec, routing: Routing) -> None:
    """Make the tap as ``spec`` says. Raises OSError, and PermanentError when the name is another's."""
    link = make(nl, spec, routing)
    _switch(spec.name)
    if (link.mac, link.mtu, link.up) != (routing.mac, spec.mtu, True):
        rtnl.set_up(nl, link.index, mac=routing.mac, mtu=spec.mtu)
    _address(nl, link.index, spec.gateway)
    _route(nl, link.index, spec.address, routing)


def make(nl: Netlink, spec: TapSpec, routing: Routing) -> rtnl.Link:
    """The tap as it is; a new one is down. Raises as ``ensure``."""
    link = find_own(nl, spec, routing, make=True)
    assert link is not None  # noqa: S101  it was made
    return link


def find_own(nl: Netlink, spec: TapSpec, routing: Routing, *, make: bool) -> rtnl.Link | None:
    """The tap as it is, made where there is none and ``make`` says so. Raises as ``ensure``."""
    if not _NAME.fullmatch(spec.name):
        raise PermanentError(f"{spec.name!r} is not a name for a tap.")
    link = rtnl.find_link(nl, spec.name) or (_create(nl, spec, routing) if make else None)
    if link is not None and link.alias != mark(routing.instance, spec.uid):
        raise PermanentError(
            f"Network device {spec.name} exists and is marked {link.alias!r}, not as the tap of VM"
            f" {spec.uid}. Remove the device, or give this daemon another network.tap_prefix."
        )
    return link


def _create(nl: Netlink, spec: TapSpec, routing: Routing) -> rtnl.Link:
    with tun.opened(spec.name) as descriptor:
        link = rtnl.find_link(nl, spec.name)
        if link is None:
            raise OSError(errno.ENODEV, "the tap vanished while it was made")
        rtnl.set_alias(nl, link.index, mark(routing.instance, spec.uid))
        tun.keep(descriptor, owner=spec.owner)
    found = rtnl.find_link(nl, spec.name)
    if found is None:
        raise OSError(errno.ENODEV, "the tap vanished while it was made")
    return found


def _switch(name: str) -> None:
    for path, value in _SWITCHES:
        (_PROC / path.format(name)).write_text(value)
    ipv6 = _PROC / _IPV6_OFF.format(name)
    if ipv6.exists():
        ipv6.write_text("1")


def _address(nl: Netlink, index: int, gateway: IPv4Address) -> None:
    present = rtnl.addresses(nl, index)
    for address, length in present:
        if (address, length) != (gateway, 32):
            rtnl.delete_address(nl, index, address, length)
    if (gateway, 32) not in present:
        rtnl.add_address(nl, index, gateway)


def _route(nl: Netlink, index: int, address: IPv4Address, routing: Routing) -> None:
    right = False
    for route in rtnl.routes(nl, routing.table, device=index):
        if route.destination.prefixlen == 32 and route.destination.network_address == address:
            right = True
        else:
            rtnl.delete_host_route(nl, route.destination, index, table=routing.table)
    if not right:
        rtnl.add_host_route(nl, address, index, table=routing.table, protocol=routing.protocol)


def remove(nl: Netlink, name: str, instance: str) -> None:
    """Remove the tap ``name`` if it is this instance's; its addresses and routes go with it."""
    link = rtnl.find_link(nl, name)
    if link is not None and link.alias.startswith(mark(instance, "")):
        rtnl.delete_link(nl, link.index)


def inventory(nl: Netlink, instance: str) -> list[OwnedTap]:
    """This instance's taps, by their marks."""
    prefix = mark(instance, "")
    found = ((link.name, link.alias) for link in rtnl.taps(nl))
    return [OwnedTap(name, alias.removeprefix(prefix)) for name, alias in found if alias.startswith(prefix)]


def routed(nl: Netlink, instance: str, table: int, protocol: int) -> list[tuple[str, IPv4Address]]:
    """(uid, address) of each address that this instance's taps have a route for."""
    prefix = mark(instance, "")
    ours = {link.index: link.alias.removeprefix(prefix) for link in rtnl.taps(nl) if link.alias.startswith(prefix)}
    return [
        (ours[route.device], route.destination.network_address)
        for route in (rtnl.routes(nl, table, protocol=protocol) if ours else ())
        if route.device in ours and route.destination.prefixlen == 32
    ]
