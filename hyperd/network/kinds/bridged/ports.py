"""Taps that are ports of a bridge. Blocking; called in worker threads.

They are found again by their ``ifalias``, which is not that of the main network's taps. A tap has an address of
its own that is higher than any card's: a bridge takes the lowest of its ports' for itself.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hyperd.errors import PermanentError, TemporaryError
from hyperd.network import rtnl, tun
from hyperd.network.rtnl import Netlink

_IPV6_OFF = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"


@dataclass(frozen=True)
class Port:
    """A tap of the machine ``uid``, by its mark."""

    tap: str
    uid: str


def is_bridge(name: str) -> bool:
    """Whether there is a bridge of that name."""
    with _opened(name) as nl:
        return rtnl.bridge_index(nl, name) is not None


def ensure(instance: str, port: Port, bridge: str, *, mac: str, mtu: int) -> None:
    """Make the tap, and have it be a port of ``bridge``. Raises TemporaryError; PermanentError for another's."""
    with _opened(port.tap) as nl:
        master = rtnl.bridge_index(nl, bridge)
        if master is None:
            raise TemporaryError(f"Bridge {bridge} is not on this node.", key="NetworkNotReady")
        link = rtnl.find_link(nl, port.tap) or _create(nl, instance, port)
        if link.alias != _mark(instance, port.uid):
            raise PermanentError(
                f"Network device {port.tap} exists and is marked {link.alias!r}, not as a tap of VM {port.uid}. "
                "Remove the device, or give this daemon another network.tap_prefix."
            )
        ipv6 = Path(_IPV6_OFF.format(port.tap))
        if ipv6.exists():
            ipv6.write_text("1")
        own = f"fe{mac[2:]}"
        if (link.mac, link.mtu, link.up) != (own, mtu, True):
            rtnl.set_up(nl, link.index, mac=own, mtu=mtu)
        if link.master != master:
            rtnl.set_master(nl, link.index, master)
        # A bridge hands a spanning tree's frames to itself before any rule sees them.
        rtnl.lead_no_tree(nl, link.index)


def _create(nl: Netlink, instance: str, port: Port) -> rtnl.Link:
    with tun.opened(port.tap) as descriptor:
        link = rtnl.find_link(nl, port.tap)
        if link is not None:
            rtnl.set_alias(nl, link.index, _mark(instance, port.uid))
            tun.keep(descriptor, owner=0)
    found = rtnl.find_link(nl, port.tap)
    if found is None:
        raise OSError(errno.ENODEV, "the tap vanished while it was made")
    return found


def remove(instance: str, tap: str) -> None:
    """Remove a tap of this instance. Nothing happens when there is none."""
    with _opened(tap) as nl:
        link = rtnl.find_link(nl, tap)
        if link is not None and link.alias.startswith(_mark(instance, "")):
            rtnl.delete_link(nl, link.index)


def inventory(instance: str) -> list[Port]:
    """This instance's ports."""
    mark = _mark(instance, "")
    with _opened("ports of bridges") as nl:
        return [
            Port(link.name, link.alias.removeprefix(mark)) for link in rtnl.taps(nl) if link.alias.startswith(mark)
        ]


def _mark(instance: str, uid: str) -> str:
    return f"hyperd-port:{instance}:{uid}"


@contextmanager
def _opened(subject: str) -> Iterator[Netlink]:
    try:
        with rtnl.opened() as nl:
            yield nl
    except OSError as error:
        raise TemporaryError(
            f"Network device {subject} cannot be set up: {error.strerror or error}. The daemon tries again.",
            key="NetworkNotReady",
        ) from error
