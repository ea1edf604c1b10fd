"""Where machines' addresses lead from this node: to the nodes that they are on.

Each node sees to its own, whoever leads. A machine has a way as long as it has a guest; what is on this node is
reached as the network made it.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.ownership import machine_node
from hyperd.errors import TemporaryError
from hyperd.resources.all import NODE, VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.values.meta import Key
from hyperd.slices import sliced
from hyperd.store.interface import EventType, Item

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine

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
        self._nodes = context.informer(NODE)
        self._changed: set[tuple[bool, Key]] = set()
        """What is to be looked at: nodes and machines."""
        self._there: dict[Key, tuple[IPv4Address, str]] = {}
        """Machines that have a guest: their addresses and nodes."""
        self._addresses: dict[str, IPv4Address] = {}
        """Of other nodes, by name."""
        self._wake = asyncio.Event()
        self._machines.add_handler(partial(self._on_change, False))
        self._nodes.add_handler(partial(self._on_change, True))

    async def run(self) -> None:
        """Have the network follow."""
        anew = True
        self._changed.update((False, key) for key in self._there)
        self._changed.update((True, Key("", name)) for name in self._addresses)
        for is_node, informer in ((False, self._machines), (True, self._nodes)):
            self._changed.update((is_node, Key(item.namespace, item.name)) for item in informer.items())
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
        found = self._there.values()
        ways = {address: self._addresses[node] for address, node in found if node in self._addresses}
        try:
            await self._context.network.lead(ways)
        except TemporaryError as error:
            _log.warning("%s", error)
            return False
        return True

    def _on_change(self, is_node: bool, _: EventType, old: Item | None, new: Item | None) -> None:
        item = new or old
        if item is not None:
            self._changed.add((is_node, Key(item.namespace, item.name)))
            self._wake.set()

    def _look_at(self, what: tuple[bool, Key]) -> bool:
        """Whether it says something new."""
        is_node, key = what
        return self._look_at_node(key.name) if is_node else self._look_at_machine(key)

    def _look_at_machine(self, key: Key) -> bool:
        machine, before = self._machines.get(*key), self._there.pop(key, None)
        found = None if machine is None else _where(machine)
        if found is not None:
            self._there[key] = found
        return found != before

    def _look_at_node(self, name: str) -> bool:
        node, before = self._nodes.get("", name), self._addresses.pop(name, None)
        found = None if node is None or name == self._context.node_name else _address(node)
        if found is not None:
            self._addresses[name] = found
        return found != before

    def _size(self, what: tuple[bool, Key]) -> int:
        is_node, key = what
        item = self._nodes.item("", key.name) if is_node else self._machines.item(*key)
        return 0 if item is None else len(item.raw)


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
