"""The one way to what cannot be undone: the store itself says now whose the machine is, and its epoch counts.

What ends a guest or removes what is left of a machine asks for a ``Warrant``, which only the fence writes. Records
are written before what they allow is done, and before the domain carries their epoch: whatever a crash falls
between, the record is never below the domain by our own doing.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, holding
from hyperd.controllers.machine.holding import Act, Holding, Record, Standing
from hyperd.controllers.ownership import machine_node
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import Conflict, ServiceUnavailable, TemporaryError
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.runtime.status import make_sure, update_status
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_status import Holder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Warrant:
    """The store's word, given just now, that ``act`` may be done to what this node has of the machine ``uid``."""

    uid: str
    act: Act


class Fence:
    """Of one node."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._refused: dict[str, tuple[int, int]] = {}
        """Records that were refused, by uid: their epoch and the domain's; told once."""

    def judge(self, machine: VirtualMachine, domain: DomainInfo | None) -> Standing:
        """What this node makes of the record of ``machine``, as far as that object can be believed."""
        me = self._context.node_name
        bound = me if self._context.ownership.runs(machine) else machine_node(machine)
        return holding.judge(
            holding.read(machine), bound=bound, me=me, domain=None if domain is None else domain.epoch
        )

    def taken(self, standing: Standing, domain: DomainInfo | None) -> Holder:
        """``status.holder`` by which this node takes a machine that nobody holds."""
        epoch = None if domain is None else domain.epoch
        return holding.shown(holding.change(standing, Holding.MINE, me=self._context.node_name, domain=epoch))

    async def hold(
        self, before: VirtualMachine, domain: DomainInfo | None
    ) -> tuple[VirtualMachine, DomainInfo | None]:
        """Bring record and domain of a machine of this node together, without touching the guest.

        A machine that nobody holds is taken: at once where a domain is here, which may be one from before there
        were records; else with the next status that is written, which ``taken`` has a part in. The domain is told
        a record's newer epoch, at a later look where its QEMU does not answer: a record above the domain permits
        the same acts, and what hangs must be ended. Both come back as they are now.
        """
        standing = self.judge(before, domain)
        if domain is None:
            return before, None
        if standing.holding is Holding.NONE:
            after = copy.deepcopy(before)
            after.setdefault("status", {})["holder"] = self.taken(standing, domain)
            before = await update_status(self._context.store, VIRTUAL_MACHINE, before, after)
            reached(CrashPoint.HOLDER_AFTER_RECORD)
            standing = self.judge(before, domain)
        try:
            return before, await self.tell(standing, domain)
        except ServiceUnavailable:
            return before, domain

    async def part(self, standing: Standing, domain: DomainInfo | None) -> DomainInfo | None:
        """A domain that is off, and from before another node's, is told that its end says nothing any more.

        Before the machine is taken here: then nothing shows that there was another node.
        """
        others = standing.record.node not in ("", self._context.node_name)
        before = standing.holding is Holding.NONE and (others or standing.record.lost)
        if domain is None or domain.active or not before or (carried := applied.decode(domain.applied)).displaced:
            return domain
        domain = replace(domain, applied=replace(carried, displaced=True).encode())
        await self._context.hypervisor.mark(domain)
        return domain

    async def tell(self, standing: Standing, domain: DomainInfo) -> DomainInfo:
        """See to it that the domain carries the record's epoch, where that is the newer one.

        Raises ServiceUnavailable, as of a guest that hangs.
        """
        if standing.epoch is not holding.Epoch.ABOVE:
            return domain
        marked = replace(domain, epoch=standing.record.epoch)
        await self._context.hypervisor.mark(marked)
        reached(CrashPoint.HOLDER_AFTER_MARK)
        return marked

    async def require(
        self, machine: VirtualMachine, act: Act, domain: DomainInfo | None, *, sure: bool = False
    ) -> Warrant:
        """Raises TemporaryError unless the store has ``machine`` as it was seen, and that lets this node ``act``.

        ``sure`` says that the store gave it, or took a write of it, just now.
        """
        if not sure:
            await make_sure(self._context.store, VIRTUAL_MACHINE, machine)
        standing = self.judge(machine, domain)
        if not standing.permits(act):
            raise TemporaryError(self._sentence(machine, standing, domain))
        return Warrant(machine["metadata"]["uid"], act)

    def require_absent(
        self, uid: str, owners: Mapping[str, Item[VirtualMachine]], domain: DomainInfo | None
    ) -> Warrant:
        """``owners`` are all machines by uid, as the store listed them just now. Raises Conflict.

        What has an owner elsewhere is as good as absent here, unless that owner's record is below the domain's.
        """
        owner = owners.get(uid)
        if owner is not None:
            machine = owner.object()
            standing = self.judge(machine, domain)
            if not standing.permits(Act.YIELD):
                raise Conflict(self._sentence(machine, standing, domain))
        return Warrant(uid, Act.REMOVE)

    def refuse(self, machine: VirtualMachine, standing: Standing, domain: DomainInfo) -> None:
        """Say, once, that the record is from before the domain, and that nothing is done to its guest."""
        uid, epochs = domain.uid, (standing.record.epoch, domain.epoch)
        if self._refused.get(uid) == epochs:
            return
        self._refused[uid] = epochs
        sentence = self._sentence(machine, standing, domain)
        _log.warning("%s", sentence)
        self._context.events.event(machine, "Warning", "HolderOutdated", sentence)

    async def accept(self, machines: Mapping[str, Item[VirtualMachine]]) -> None:
        """An administrator says that the store is right: records below a domain here are raised above it."""
        for uid, domain in (await self._context.hypervisor.list_owned()).items():
            if uid not in machines:
                continue
            before = machines[uid].object()
            standing = self.judge(before, domain)
            if standing.refused:
                node = standing.record.node or machine_node(before) or self._context.node_name
                after = copy.deepcopy(before)
                after.setdefault("status", {})["holder"] = holding.shown(Record(domain.epoch + 1, node))
                await update_status(self._context.store, VIRTUAL_MACHINE, before, after)

    def forget(self, uid: str) -> None:
        """The machine is gone."""
        self._refused.pop(uid, None)

    def _sentence(self, machine: VirtualMachine, standing: Standing, domain: DomainInfo | None) -> str:
        meta, record = machine["metadata"], standing.record
        name = f"{meta['namespace']}/{meta['name']}"
        if standing.refused and domain is not None:
            return (
                f"The store's record of who holds virtual machine {name} (epoch {record.epoch}) is older than its "
                f"domain on node {self._context.node_name} (epoch {domain.epoch}): nothing is done to it. Put "
                "back a newer state of the store, or say `hv gc accept` if it is right as it is."
            )
        return (
            f"Virtual machine {name} is not held by node {self._context.node_name} "
            f"({standing.holding}, epoch {record.epoch}); looking again."
        )
