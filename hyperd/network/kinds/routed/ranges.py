"""The VM ranges as a whole: which table routes them, and where unknown addresses end. Blocking.

Per CIDR one rule leads to the instance's table, and a blackhole there stops what no VM has. A rule of a range
that left the settings is removed once no VM is routed through it. Instances that share one host have ranges of
their own; they may share table and protocol.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from hyperd.network import rtnl
from hyperd.network.rtnl import Netlink

_PRIORITY = 1490


def ensure(nl: Netlink, cidrs: tuple[IPv4Network, ...], *, table: int, protocol: int) -> None:
    """Make rule and blackhole of each range."""
    for cidr in cidrs:
        rtnl.add_rule(nl, rtnl.Rule(cidr, table, _PRIORITY, protocol))
        rtnl.add_blackhole(nl, cidr, table=table, protocol=protocol)


def remove_stale(nl: Netlink, cidrs: tuple[IPv4Network, ...], *, table: int, protocol: int) -> None:
    """Remove what an earlier configuration of the same table and protocol left."""
    routed = [route.destination for route in rtnl.routes(nl, table, protocol=protocol) if not route.blackhole]
    for rule in rtnl.rules(nl):
        ours = (rule.table, rule.protocol, rule.priority) == (table, protocol, _PRIORITY)
        used = any(host.subnet_of(rule.destination) for host in routed)
        if ours and not used and rule.destination not in cidrs:
            _remove(nl, rule)


def remove(nl: Netlink, cidrs: tuple[IPv4Network, ...], *, table: int, protocol: int) -> None:
    """Remove rule and blackhole of each range."""
    for cidr in cidrs:
        _remove(nl, rtnl.Rule(cidr, table, _PRIORITY, protocol))


def _remove(nl: Netlink, rule: rtnl.Rule) -> None:
    rtnl.delete_rule(nl, rule)
    rtnl.delete_blackhole(nl, rule.destination, table=rule.table, protocol=rule.protocol)
