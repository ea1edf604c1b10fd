"""Where machines' addresses lead from this node: to the nodes that they are on.

Each node sees to its own, whoever leads. A machine has a way as long as it has a guest; what is on this node is
reached as the network made it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Final, TypeVar

from hyperd.controllers.context import Context
from hyperd.controllers.ownership import machine_node
from hyperd.errors import TemporaryError
from hyperd.resources.all import NODE, VIRTUAL_MACHINE, VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_ip_address_lease import lease_name
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.meta import Key
from hyperd.runtime.informer import Informer
from hyperd.slices import sliced
from hyperd.store.interface import EventType, Item

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine

T = TypeVar("T")
_log = logging.getLogger(__name__)
_WITHOUT_GUEST: Final = (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED)
_GATHERING_SECONDS: Final = 0.1
"""After a change, until the next ones are looked at."""
_AGAIN_SECONDS: Final = 10.0


class Ways:
    """``run`` is to go on as long as the daemon does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._leases = context.informer(VIRTUAL_MACHINE_IP_ADDRESS_LEASE)
        self._nodes = context.informer(NODE)
        self._changed: set[tuple[Kind, Key]] = set()
        """What is to be looked at."""
        self._there: dict[Key, tuple[IPv4Address, str]] = {}
        """Machines that have a guest: their addresses and nodes."""
        self._owners: dict[Key, str] = {}
        """Leases, which are named by their addresses, and whose they are: namespaces."""
        self._addresses: dict[Key, IPv4Address] = {}
        """Of other nodes."""
        self._wake = asyncio.Event()
        for informer in self._informers():
            informer.add_handler(partial(self._on_change, informer.kind))

    async def run(self) -> None:
        """Have the network follow."""
        anew = True
        known: tuple[Iterable[Key], ...] = (self._there, self._owners, self._addresses)
        for informer, before in zip(self._informers(), known, strict=True):
            self._changed.update((informer.kind, key) for key in before)
            self._changed.update((informer.kind, Key(item.namespace, item.name)) for item in informer.items())
        while True:
            self._wake.clear()
            changed, self._changed = list(self._changed), set()
            if any(await sliced(changed, self._look_at, self._size)) or anew:
                anew = not await self._lead()
            await asyncio.sleep(_AGAIN_SECONDS if anew else _GATHERING_SECONDS)
            if not anew:
                await self._wake.wait()

    async def _lead(self) -> bool:
        """Whether the network has it."""
        ways: dict[IPv4Address, IPv4Address] = {}
        for machine, (address, node) in self._there.items():
            # A machine's status may be forged; whose an address is the lease alone says.
            if self._owners.get(Key("", lease_name(address))) != machine.namespace:
                continue
            if (found := self._addresses.get(Key("", node))) is not None:
                ways[address] = found
        try:
            await self._context.network.lead(ways)
        except TemporaryError as error:
            _log.warning("%s", error)
            return False
        return True

    def _informers(self) -> tuple[Informer, ...]:
        return self._machines, self._leases, self._nodes

    def _on_change(self, kind: Kind, _: EventType, old: Item | None, new: Item | None) -> None:
        item = new or old
        if item is not None:
            self._changed.add((kind, Key(item.namespace, item.name)))
            self._wake.set()

    def _look_at(self, what: tuple[Kind, Key]) -> bool:
        """Whether it says something new."""
        kind, key = what
        if kind is VIRTUAL_MACHINE:
            machine = self._machines.get(*key)
            return _keep(self._there, key, None if machine is None else _where(machine))
        if kind is NODE:
            node = None if key.name == self._context.node_name else self._nodes.get(*key)
            return _keep(self._addresses, key, None if node is None else _address(node))
        lease = self._leases.get(*key)
        reference = None if lease is None else lease["spec"].get("virtualMachineIPAddressRef")
        return _keep(self._owners, key, None if reference is None else reference["namespace"])

    def _size(self, what: tuple[Kind, Key]) -> int:
        kind, key = what
        item = next(informer.item(*key) for informer in self._informers() if informer.kind is kind)
        return 0 if item is None else len(item.raw)


def _keep(known: dict[Key, T], key: Key, found: T | None) -> bool:
    """Whether it is another than before."""
    before = known.pop(key, None)
    if found is not None:
        known[key] = found
    return found != before


def _where(machine: VirtualMachine) -> tuple[IPv4Address, str] | None:
    """The address and the node of a machine that has a guest."""
    status, node = machine.get("status") or {}, machine_node(machine)
    if not node or status.get("phase") in _WITHOUT_GUEST:
        return None
    try:
        return IPv4Address(status.get("ipAddress") or ""), node
    except AddressValueError:
        return None


def _address(node: Node) -> IPv4Address | None:
    """By which other nodes reach it; None where it has no such address of IPv4."""
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == "InternalIP":
            try:
                return IPv4Address(address.get("address") or "")
            except AddressValueError:
                continue
    return None
