"""Guests that run here without an owner: each keeps its link, DHCP and address, which nobody else gets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from hyperd.controllers.address.taken import parsed, show_taken
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.instance import Instances
from hyperd.hypervisor.state import DomainInfo


class Strangers:
    """Of this node."""

    def __init__(self, context: Context, instances: Instances) -> None:
        self._context = context
        self._instances = instances
        self.domains: list[DomainInfo] = []
        """Those that run, and those that are only defined: what they read stays."""

    async def keep(self, domain: DomainInfo) -> None:
        """Make sure of its link, by what the domain itself says."""
        await self._instances.keep_link(domain)

    async def show(self, domains: Iterable[DomainInfo]) -> None:
        """Say which addresses are taken: their leases may be lost, and who leases may be on another node."""
        self.domains = list(domains)
        if self._context.ownership.binds:
            found = {address for domain in self.domains if (address := address_of(domain)) is not None}
            await show_taken(self._context.store, self._context.node_name, found)


def address_of(domain: DomainInfo) -> IPv4Address | None:
    """What the guest got at its start."""
    return parsed(applied.decode(domain.applied).address)
