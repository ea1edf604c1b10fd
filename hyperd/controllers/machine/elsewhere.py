"""Machines that are another node's, or nobody's, and what this node has of them.

A guest of a machine that was bound anew must not run twice. The store itself has to say so, and not by a record
from before the guest: what is seen here is a copy. It says so twice, unless its record shows that another node has
taken the machine, or that this one was given up for dead: then the guest ends at once. Definition and files stay;
the sweep names them.
"""

from __future__ import annotations

import copy
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, holding
from hyperd.controllers.machine.dependencies import machine_key
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.holding import Act, Epoch, Standing
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.migration.interface import Moves
from hyperd.controllers.ownership import machine_node
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import ServiceUnavailable
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.runtime.controller import Result
from hyperd.runtime.status import update_status

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

_log = logging.getLogger(__name__)
_DOUBT_SECONDS = 2.0
"""Between two looks at the store before a guest is ended that nobody asked to end."""
_WAIT_SECONDS = 60.0


class Elsewhere:
    """What this node does about machines that it does not run."""

    def __init__(self, context: Context, instances: Instances, fence: Fence, moves: Moves | None) -> None:
        self._context = context
        self._moves = moves
        self._instances = instances
        self._fence = fence
        self._doubted: dict[str, tuple[str, float]] = {}
        """Machines that run here and are another node's by the store: which, and since when it says so."""

    async def look(self, machine: VirtualMachine) -> Result | None:
        """One step: take the machine back, end its guest here, or leave both alone."""
        uid = machine["metadata"]["uid"]
        if self._moves is not None and await self._moves.attend(machine):
            return None
        domain = self._context.hypervisor.last_known.get(uid)
        if domain is None:
            return None
        if self._moves is not None and not domain.active and applied.decode(domain.applied).departed:
            await self._moves.leave_behind(machine, domain)
            return Result(_DOUBT_SECONDS)
        fresh = await self._fresh(machine) if domain.active or not machine_node(machine) else machine
        if not machine_node(machine):
            if fresh is not None and not machine_node(fresh) and holding.read(fresh).lost:
                return await self._disown(fresh, domain)
            return await self._claim(fresh, domain)
        if not domain.active:
            return await self._bar(machine, domain)
        if fresh is None or self._context.ownership.runs(fresh) or not (node := machine_node(fresh)):
            self._doubted.pop(uid, None)
            return Result(_DOUBT_SECONDS)  # what is seen here catches up, or is asked about again
        return await self._yield(fresh, domain, node)

    def forget(self, uid: str) -> None:
        """The machine is gone."""
        self._doubted.pop(uid, None)

    async def _yield(self, machine: VirtualMachine, domain: DomainInfo, node: str) -> Result | None:
        """``machine`` is as the store has it now, bound to ``node``; its guest runs here."""
        uid = domain.uid
        standing = self._fence.judge(machine, domain)
        if standing.refused:
            self._doubted.pop(uid, None)
            self._fence.refuse(machine, standing, domain)
            await self._instances.keep_link(domain)
            return Result(_WAIT_SECONDS)
        if not _superseded(standing, self._context.node_name):
            doubted = self._doubted.get(uid)
            if doubted is None or doubted[0] != node:
                self._doubted[uid] = (node, clock.elapsed())
                return Result(_DOUBT_SECONDS)
            left = doubted[1] + _DOUBT_SECONDS - clock.elapsed()
            if left > 0:
                return Result(left)
        return await self._end(machine, domain, standing, f"it is bound to node {node}")

    async def _disown(self, machine: VirtualMachine, domain: DomainInfo) -> Result | None:
        """This node, or one before it, was given up for dead: no guest of the machine is to be left here."""
        standing = self._fence.judge(machine, domain)
        if domain.active and not standing.refused:
            return await self._end(machine, domain, standing, "its node was given up for dead")
        if domain.active:
            self._fence.refuse(machine, standing, domain)
            await self._instances.keep_link(domain)
            return Result(_WAIT_SECONDS)
        await self._fence.tell(standing, domain)
        return None

    async def _end(
        self, machine: VirtualMachine, domain: DomainInfo, standing: Standing, why: str
    ) -> Result | None:
        """The store says just now that ``machine`` is not to run here, and it does."""
        uid, key = domain.uid, machine_key(machine)
        if self._context.witness.waits:
            _log.warning("Machine %s runs here, though %s: %s", key, why, self._context.witness.why)
            return Result(_WAIT_SECONDS)
        warrant = await self._fence.require(machine, Act.YIELD, domain, sure=True)
        _log.warning("Machine %s: %s; ending its guest here.", key, why)
        # The definition stays: by the epoch that ended it no earlier record starts it again. A guest that hangs is
        # told once it has ended.
        with suppress(ServiceUnavailable):
            domain = await self._fence.tell(standing, domain)
        reached(CrashPoint.HOLDER_BEFORE_YIELD)
        await self._instances.end(warrant)
        await self._instances.unlink(uid)
        await self._instances.detach(machine)
        self._doubted.pop(uid, None)
        return None if domain.epoch >= standing.record.epoch else Result(_DOUBT_SECONDS)

    async def _bar(self, machine: VirtualMachine, domain: DomainInfo) -> Result | None:
        """No guest of it runs here: its definition is told the newer epoch of who took it.

        So no earlier record starts it here, also where the guest ended before there was a newer one.
        """
        if self._fence.judge(machine, domain).epoch is not Epoch.ABOVE:
            return None
        fresh, found = await self._fresh(machine), await self._context.hypervisor.info(domain.uid)
        if found is None:
            return None
        if fresh is None or found.active or machine_node(fresh) in ("", self._context.node_name):
            return Result(_DOUBT_SECONDS)  # what is seen here catches up
        await self._fence.tell(self._fence.judge(fresh, found), found)
        return None

    async def _claim(self, fresh: VirtualMachine | None, domain: DomainInfo) -> Result | None:
        """It has no node, and this one has its domain: it was bound here before an earlier state was restored."""
        if fresh is None or machine_node(fresh):
            return Result(_DOUBT_SECONDS)
        standing = self._fence.judge(fresh, domain)
        if standing.refused:
            self._fence.refuse(fresh, standing, domain)
            return Result(_WAIT_SECONDS)
        if standing.record.node not in ("", self._context.node_name):
            return Result(_DOUBT_SECONDS)  # who had it last comes first; a definition may be here from before
        after = copy.deepcopy(fresh)
        after.setdefault("status", {})["nodeName"] = self._context.node_name
        after["status"]["holder"] = self._fence.taken(standing, domain)
        await update_status(self._context.store, VIRTUAL_MACHINE, fresh, after)
        _log.warning("Machine %s had no node; this one has its domain, and took it back.", machine_key(fresh))
        return None

    async def _fresh(self, machine: VirtualMachine) -> VirtualMachine | None:
        """The same machine as the store has it now."""
        fresh = await self._context.store.find(VIRTUAL_MACHINE, *machine_key(machine))
        return fresh if fresh is not None and fresh["metadata"]["uid"] == machine["metadata"]["uid"] else None


def _superseded(standing: Standing, me: str) -> bool:
    """Whether another node has taken the machine since the guest here began: it runs there, or will."""
    record = standing.record
    return standing.epoch is Epoch.ABOVE and record.node not in ("", me) and not record.to
