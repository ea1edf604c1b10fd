"""The node's part of fencing: guests that ask for it are guarded by the node's watchdog, and that is promised.

The watchdog is fed with each renewal of the node's lease. Where that fails it is fed by the word of others: that
the API server is away for most of the electors as well, so that nobody can take a guest from here. What is
promised holds for guests whose record says ``fenced``, which is written once they are guarded, and taken back
before they are not. A daemon that is stopped in order, or that libvirt does not answer, takes its promise back,
and has all guests go on without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from hyperd import clock
from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.machine import holding
from hyperd.controllers.node import promise
from hyperd.controllers.node.heartbeat import is_forgotten, lease_name, node_leases
from hyperd.controllers.node.promise import RENEWALS, Promise
from hyperd.controllers.pod.claims import Claims
from hyperd.errors import HyperdError, NotFound, TemporaryError
from hyperd.launcher import sandbox
from hyperd.launcher.sandbox import Sandbox
from hyperd.launcher.watchdog import Watchdog
from hyperd.resources.all import LEASE, NODE, VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.values import meta, names
from hyperd.runtime.controller import Key
from hyperd.store.interface import PatchType

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine

_log = logging.getLogger(__name__)
_LOOKS: Final = 8
"""In the duration of a lease."""
_PATIENCE: Final = 0.5
"""Durations without a renewal for which libvirt may be away."""
_REST_SECONDS: Final = 8.0
_KNOWN: Final = 2.0
"""Durations for which the list of nodes is good enough."""

Ask = Callable[["Node"], Awaitable[bool]]
"""Whether the hyperd of a node says that the API server is away."""


class Guards:
    """Of one node. ``run`` is to go on as long as the daemon does, and ``rest`` comes at its end."""

    def __init__(self, context: Context, look: Callable[[Key], None], watchdog: Watchdog | None = None) -> None:
        """``look`` is called with machines that are to be looked at again."""
        settings = context.settings
        self._context = context
        self._look = look
        self._watchdog = watchdog or Watchdog(settings.kubernetes.programs_dir, settings.run_dir, settings.log_dir)
        self._seconds = settings.kubernetes.node_lease_seconds
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._machines.add_index(usage.UID_INDEX, usage.uid_of)
        self._nodes = context.informer(NODE)
        self._disks = context.informer(VIRTUAL_DISK)
        self._claims = Claims(context)
        self.ask: Ask | None = None
        self._runs = False
        """Whether there is a watchdog that answers."""
        self._fed = False
        """Whether this daemon has fed it."""
        self._renewing = asyncio.Lock()
        self._rests = self._idle = False
        self._sent = self._renewed = clock.elapsed()
        """When a renewal was last sent, and has last come about; before the first one nobody is told that the API
        server is away."""
        self._promised: Promise | None = None
        self._electors: tuple[frozenset[str], float] = (frozenset(), float("-inf"))
        self._waiting: set[Key] = set()
        self._told: dict[str, str] = {}
        """Why guests that ask for it are not guarded, by uid."""
        self._logged = ""

    def is_away(self) -> bool:
        """Whether the API server does not answer this node, for longer than anybody counts on the node's lease."""
        return clock.elapsed() - max(self._sent, self._renewed) > promise.AWAY * self._seconds

    def alone(self) -> asyncio.Lock:
        """While a renewal goes on nothing else is said of what is promised."""
        return self._renewing

    def sends(self) -> None:
        """A renewal is sent now: it may come about, whatever is answered."""
        self._sent = clock.elapsed()

    async def run(self) -> None:
        """See to a node that cannot renew its lease."""
        while True:
            await asyncio.sleep(self._seconds / _LOOKS)
            if self._promised is None:
                continue
            late = clock.elapsed() - self._renewed > _PATIENCE * self._seconds
            if late and not self._context.hypervisor.connected:
                await self._take_back()
            if self._promised is not None and self.is_away():
                await self._ask_others(self._promised)

    async def keep(self, machine: VirtualMachine, place: Sandbox) -> None:
        """Have the machine's guest, which runs in ``place``, guarded if that is asked for.

        ``machine`` says so then, which is to be written. Nothing is raised where it cannot be.
        """
        record, uid = holding.read(machine), machine["metadata"]["uid"]
        if self._rests or record.to or record.node != self._context.node_name:
            return
        holder = machine["status"]["holder"]
        try:
            if meta.annotations(machine).get(names.FENCING_ANNOTATION) == "true" and await self._may_fence(
                machine
            ):
                if not record.fenced or not await self._guards(uid):
                    holder["fenced"] = await self._guard(machine, place)
            elif record.fenced:
                del holder["fenced"]
                self._look(meta.key(machine))
            elif self._runs and uid in await self._watchdog.guarded():
                await self._watchdog.release(uid)
        except HyperdError as error:
            holder["fenced"] = False
            self._waiting.add(meta.key(machine))
            self._say(f"Guests of this node cannot be fenced: {error.message}")
        if not holder.get("fenced"):
            holder.pop("fenced", None)

    async def promise(self) -> Promise | None:
        guarded: frozenset[str] | None = None
        try:
            # It may be there from before this daemon: then it is to be fed at once.
            guarded = await self._watchdog.guarded()
        except TemporaryError:
            if self._runs:
                _log.warning("The node's watchdog has ended: another one is started where a guest needs it.")
        self._runs = guarded is not None
        missing = self._unguarded(guarded or frozenset())
        for key in missing:
            self._look(key)
        if guarded is None or missing or self._rests:
            return None
        electors = await self._nodes_with_hyperd()
        if len(electors) < promise.LEAST:
            self._idle = True  # nobody could take a guest: none is to end, once nothing is promised any more
            return None
        # Of a daemon before this one, by other settings: what is promised must hold before it is read.
        await self._watchdog.cap(clock.elapsed() + promise.ends(self._seconds))
        return promise.make(self._seconds, electors)

    async def renewed(self, began: float, promised: Promise | None) -> None:
        self._renewed = clock.elapsed()
        self._promised = promised
        if not self._runs:
            return
        try:
            await self._watchdog.feed(began + promise.ends(self._seconds))
            self._logged, self._fed = "", True
        except TemporaryError as error:
            self._say(f"Guests of this node cannot be fenced: {error.message}")
            return
        if promised is None and self._idle:
            self._idle = False
            await self._release_all()
        waiting, self._waiting = self._waiting, set()
        for key in waiting:
            self._look(key)

    async def rest(self) -> None:
        """The daemon ends: nobody feeds the watchdog for a while, so no guest is to depend on that."""
        self._rests = True
        await self._take_back()

    async def _take_back(self) -> None:
        """Of what was promised nothing holds any more; once the store says so all guests go on."""
        if not await self._is_there():
            return
        try:
            # A renewal in flight ends before.
            async with asyncio.timeout(min(2 * self._seconds / RENEWALS, _REST_SECONDS)), self._renewing:
                name, patch = lease_name(self._context.node_name), {names.LEASE_PROMISE_ANNOTATION: None}
                body = {"metadata": {"annotations": patch}}
                await self._context.store.patch(LEASE, names.SYSTEM_NAMESPACE, name, PatchType.MERGE, body)
                self._promised = None
                await self._release_all()
        except NotFound:
            await self._release_all()  # without a lease nothing is promised
        except (HyperdError, TimeoutError) as error:
            self._say(f"Fenced guests end unless hyperd renews its lease in time: {error or 'no answer'}")

    async def _guard(self, machine: VirtualMachine, place: Sandbox) -> bool:
        """False where that is for later: the watchdog guards nobody before the next renewal has fed it."""
        uid, known = machine["metadata"]["uid"], False
        if not self._runs:
            await self._watchdog.start()
            self._runs, self._fed = True, False
        if not self._fed:
            self._waiting.add(meta.key(machine))
            return False
        refused: TemporaryError | None = None
        for pid in await asyncio.to_thread(sandbox.members, place):
            try:
                await self._watchdog.guard(pid, uid)
                known = True
            except TemporaryError as error:
                refused = error
        if not known:
            raise refused or TemporaryError("The guest's QEMU is not in its Pod.")
        return True

    async def _release_all(self) -> None:
        try:
            for uid in await self._watchdog.guarded():
                await self._watchdog.release(uid)
        except TemporaryError as error:
            self._say(error.message)

    async def _is_there(self) -> bool:
        try:
            await self._watchdog.guarded()
        except TemporaryError:
            return False
        return True

    async def _may_fence(self, machine: VirtualMachine) -> bool:
        """Whether another node could take the machine once the watchdog of this one has ended its guest."""
        why = ""
        if len(await self._nodes_with_hyperd()) < promise.LEAST:
            why = f"that takes {promise.LEAST} nodes with a hyperd."
        for kind, name in sorted(set(usage.references(machine))):
            if kind == VIRTUAL_DISK.kind:
                disk = self._disks.get(machine["metadata"]["namespace"], name)
                if disk is None or self._claims.of(disk) is None:
                    why = f'VirtualDisk "{name}" is this node\'s alone, so it could begin nowhere else.'
        uid = machine["metadata"]["uid"]
        if why and self._told.get(uid) != why:
            self._context.events.event(machine, "Warning", "NotFenced", f"The guest is not fenced: {why}")
        self._told[uid] = why
        return not why

    async def _guards(self, uid: str) -> bool:
        """Whether the guest is guarded, also since before this daemon."""
        try:
            return uid in await self._watchdog.guarded()
        except TemporaryError:
            return False

    def _unguarded(self, guarded: frozenset[str]) -> list[Key]:
        """Machines whose record says that their guests are, and they are not."""
        missing: list[Key] = []
        for uid, domain in self._context.hypervisor.last_known.items():
            if not domain.active or uid in guarded:
                continue
            for item in self._machines.by_index(usage.UID_INDEX, uid):
                if b'"fenced"' not in item.raw:
                    continue
                record = holding.read(item.object())
                if record.fenced and record.node == self._context.node_name:
                    missing.append(Key(item.namespace, item.name))
        return missing

    async def _nodes_with_hyperd(self) -> frozenset[str]:
        known, at = self._electors
        if clock.elapsed() - at > _KNOWN * self._seconds:
            leases = await node_leases(self._context.store)
            there = (node for node, lease in leases.items() if not is_forgotten(lease))
            known = frozenset(node for node in there if self._nodes.item("", node) is not None)
            self._electors = known, clock.elapsed()
        return known

    async def _ask_others(self, promised: Promise) -> None:
        """Whether most electors say that the API server is away; the watchdog is fed by that."""
        began, ask = clock.elapsed(), self.ask
        if ask is None:
            return
        others = [node for node in promised.electors if node != self._context.node_name]
        found = [node for name in others if (node := self._nodes.get("", name)) is not None]
        asking = [asyncio.ensure_future(ask(node)) for node in found]
        if asking:
            _, late = await asyncio.wait(asking, timeout=self._seconds / _LOOKS)
            for one in late:
                one.cancel()
        said = sum(
            one.done() and not one.cancelled() and one.exception() is None and one.result() for one in asking
        )
        if said + (self._context.node_name in promised.electors) < promised.majority or not self.is_away():
            self._say(
                "The API server answers most nodes, and not this one: fenced guests end unless that changes."
            )
            return
        try:
            await self._watchdog.feed(began + promised.seconds)
        except TemporaryError as error:
            self._say(error.message)

    def _say(self, sentence: str) -> None:
        if self._logged != sentence:
            self._logged = sentence
            _log.warning("%s", sentence)
