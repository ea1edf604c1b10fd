"""What the host holds of this instance without an owner in the store.

Every thing carries its owner's uid: domains in their metadata, taps in ifalias, files in their names. What an
object left behind that was seen on its way out is removed once the store no longer has it. What merely has no
owner is a user's all the same: it stays in place, with a note (``quarantine``), until its owner returns or an
administrator empties it. Links and sockets of nothing that runs, and unused cached images, are ours and go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from hyperd.controllers.context import Context
from hyperd.controllers.host.cache import Cache
from hyperd.controllers.host.deaths import Deaths
from hyperd.controllers.host.doubles import Doubles
from hyperd.controllers.host.quarantine import Kept, Quarantine
from hyperd.controllers.host.remains import Remains, look, mark_of
from hyperd.controllers.host.strangers import Strangers
from hyperd.controllers.machine import holding
from hyperd.controllers.machine.fence import Fence, Warrant
from hyperd.controllers.machine.holders import opener
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.ownership import disk_node, machine_node
from hyperd.errors import Conflict, HyperdError, NotFound
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    NODE,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import Kind, V
from hyperd.runtime.recorder import EventLevel
from hyperd.storage.interface import Snapshot, Volume
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

T = TypeVar("T")

PERIOD_SECONDS = 30.0
AGAIN_SECONDS = 1.0
"""Between two looks, when an owner is missing."""
ABSENT = "it has no owner in the store"
_EVENTS = 3
"""So many are told by name in one round; more become one event."""
_log = logging.getLogger(__name__)


class Sweeper:
    """Runs at start and every ``PERIOD_SECONDS``; sooner when objects vanish that nobody deleted."""

    def __init__(self, context: Context, quarantine: Quarantine) -> None:
        self._context = context
        self._quarantine = quarantine
        self._instances = Instances(context)
        self._fence = Fence(context)
        self._strangers = Strangers(context, self._instances)
        self.doubles = Doubles(context)
        self._wake = asyncio.Event()
        self._sweeping = asyncio.Lock()
        self._deaths = {
            kind: Deaths(context.informer(kind), vanished=self._wake.set)
            for kind in (VIRTUAL_MACHINE, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT)
        }
        self._failed: dict[str, str] = {}
        """What could not be done, by what it was about: told once."""
        self._new: list[Kept] = []
        self._cached = Cache(context, self._strangers)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            self._wake.clear()
            await self.sweep()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), PERIOD_SECONDS)

    async def begin(self) -> None:
        """At start: read what is noted, and judge whether this is the store that the node knows."""
        await self._quarantine.begin()
        volumes = await self._context.volumes.inventory()
        marked = await asyncio.to_thread(mark_of, self._context.settings.volumes_dir / ".store")
        await self._context.witness.begin(empty=not volumes, marked=marked)

    async def sweep(self) -> None:
        """One round. What fails is told, and keeps nothing else from being done."""
        async with self._sweeping:
            await self._sweep()

    async def _sweep(self) -> None:
        done = [
            await self._try(what, work)
            for what, work in (
                ("machines", self._machines),
                ("disks", self._disks),
                ("disks with two volumes", self._second_volumes),
                ("snapshots", self._snapshots),
                ("images", self._images),
            )
        ]
        if all(done):  # else it is not known what reads the cache
            await self._try("cache", self._cached.sweep)
            await self._try("fetches", self._cached.end_fetches)
        self._tell()

    async def _try(self, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except HyperdError as err:
            self._note_failure(what, err.message)
            return False
        except Exception:  # noqa: BLE001  border: one part's defect must not leave the others undone
            _log.exception("The sweep of %s failed", what)
            return False
        self._failed.pop(what, None)
        return True

    def _note_failure(self, what: str, message: str) -> None:
        if self._failed.get(what) != message:
            self._failed[what] = message
            _log.warning("The sweep of %s was put off: %s", what, message)

    # Machines

    async def _machines(self) -> None:
        found, owners = await self._twice(VIRTUAL_MACHINE, self._remains)
        strangers = []
        for uid, remains in sorted(found.items()):
            why = self._without_owner(owners.get(uid), self._node_of)
            if not why:
                await self._returned([uid])
                continue
            if why == ABSENT and remains.domain is not None:
                strangers.append(remains.domain)
            with self._each(f"machine {uid}"):
                await self._judge_machine(uid, remains, owners, why)
        with self._each("addresses of guests without an owner"):
            await self._strangers.show(strangers)
        await self._settle(VIRTUAL_MACHINE, owners, found)

    async def _remains(self) -> Mapping[str, Remains]:
        return await look(self._context)

    async def _judge_machine(self, uid: str, remains: Remains, owners: Mapping[str, Item], why: str) -> None:
        """Remove what is left of a deleted machine, and what is ours; note the rest."""
        deaths = self._deaths[VIRTUAL_MACHINE]
        if why == ABSENT and uid in deaths and not self._context.witness.waits:
            _log.warning("Removing what is left of virtual machine %s, which was deleted.", uid)
            await self._remove_machine(
                uid, remains.domain, self._fence.require_absent(uid, owners, remains.domain)
            )
            return
        if remains.things:
            await self._mark(uid, VIRTUAL_MACHINE, remains.name or deaths.name(uid), why, remains.things)
        if remains.domain is not None and remains.domain.active:
            await self._strangers.keep(remains.domain)
            return
        await self._instances.unlink(uid)
        if not remains.things:
            await self._instances.clear(uid)

    async def _remove_machine(self, uid: str, domain: DomainInfo | None, warrant: Warrant) -> None:
        if domain is not None and domain.active:
            await self._instances.end(warrant)
        await self._instances.remove(warrant, defined=domain is not None)
        self._deaths[VIRTUAL_MACHINE].forget(uid)

    # Disks

    async def _disks(self) -> None:
        await self._volumes(VIRTUAL_DISK, self._disks_here, "volume", self._remove_volume)

    async def _second_volumes(self) -> None:
        await self.doubles.look(await self._owners(VIRTUAL_DISK))

    async def _snapshots(self) -> None:
        await self._volumes(VIRTUAL_DISK_SNAPSHOT, self._snapshots_here, "snapshot", self._remove_snapshot)

    async def _volumes(
        self,
        kind: Kind,
        look_: Callable[[], Awaitable[Mapping[str, T]]],
        thing: str,
        remove: Callable[[str], Awaitable[bool]],
    ) -> None:
        found, owners = await self._twice(kind, look_)
        deaths = self._deaths[kind]
        for uid in sorted(found):
            why = self._without_owner(owners.get(uid), disk_node)
            if not why or uid in self._context.coming:
                await self._returned([uid])
                continue
            with self._each(f"{kind.kind} {uid}"):
                deleted = why == ABSENT and uid in deaths and not self._context.witness.waits
                if deleted and await remove(uid):
                    _log.warning("Removed %s %s, whose %s was deleted.", thing, uid, kind.kind)
                    deaths.forget(uid)
                else:
                    await self._mark(uid, kind, deaths.name(uid), why, (thing,))
        await self._settle(kind, owners, found)

    async def _remove_volume(self, uid: str) -> bool:
        if not self._context.hypervisor.connected or opener(self._context, uid):
            return False
        await self._context.volumes.delete(uid)
        return True

    async def _remove_snapshot(self, uid: str) -> bool:
        """What was prepared for one may be written to: that stays its volume's, and only the rest goes."""
        found = await self._context.volumes.find_snapshot(uid)
        if found is not None and found.pending:
            await self._context.volumes.commit_snapshot(found.volume, snapshot=uid, op_uid="")
        await self._context.volumes.delete_snapshot(uid)
        return True

    async def _disks_here(self) -> Mapping[str, Volume]:
        return {volume.uid: volume for volume in await self._context.volumes.inventory()}

    async def _snapshots_here(self) -> Mapping[str, Snapshot]:
        return {snapshot.uid: snapshot for snapshot in await self._context.volumes.snapshots()}

    # Both

    async def _twice(
        self, kind: Kind, look_: Callable[[], Awaitable[Mapping[str, T]]]
    ) -> tuple[Mapping[str, T], Mapping[str, Item]]:
        """What is here, and all owners. Where one is missing for the first time, both are looked at again."""
        found = await look_()
        owners = await self._owners(kind)
        doubtful = [
            uid
            for uid in found.keys() - owners.keys()
            if uid not in self._deaths[kind] and self._quarantine.get(uid) is None
        ]
        if doubtful:
            await asyncio.sleep(AGAIN_SECONDS)
            found = await look_()
            owners = await self._owners(kind)
        return found, owners

    async def _owners(self, kind: Kind) -> dict[str, Item]:
        """All objects of a kind by uid, as the store itself says now."""
        found: dict[str, Item] = {}
        # Images may be on volumes, too.
        for each in (kind, VIRTUAL_IMAGE) if kind is VIRTUAL_DISK else (kind,):
            listing = await self._context.store.list(each)
            await self._context.witness.look(listing.resource_version)
            found |= {item.uid: item for item in listing.items}
        return found

    def _without_owner(self, item: Item[V] | None, node_of: Callable[[V], str]) -> str:
        """Why what is here has no owner here; empty when it has one."""
        if item is None:
            return ABSENT
        if not self._context.ownership.binds:
            return ""
        node = node_of(item.object())
        return "" if node in ("", self._context.node_name) else f"its owner is bound to node {node}"

    def _node_of(self, machine: VirtualMachine) -> str:
        """The machine's node; this one for a guest that is on its way here."""
        here = self._context.node_name
        return here if holding.read(machine).to == here else machine_node(machine)

    async def _mark(self, uid: str, kind: Kind, name: str, why: str, things: Collection[str]) -> None:
        if await self._quarantine.mark(uid, kind=kind.kind, name=name, why=why, things=things):
            kept = self._quarantine.get(uid)
            if kept is not None:
                self._new.append(kept)

    async def mark_images(self, uid: str, kind: Kind, name: str, images: Collection[tuple[str, str]]) -> None:
        """Images in the registry whose owner is absent."""
        if await self._quarantine.mark(uid, kind=kind.kind, name=name, why=ABSENT, images=images):
            kept = self._quarantine.get(uid)
            if kept is not None:
                self._new.append(kept)
                self._tell()

    async def _returned(self, uids: Collection[str]) -> None:
        for kept in await self._quarantine.clear(uids):
            message = f"{kept.kind} {kept.name or kept.uid} is back: what was kept of it here has its owner again."
            _log.warning("%s", message)
            self._event("Normal", "OwnerReturned", message)

    async def _settle(self, kind: Kind, owners: Mapping[str, Item], found: Collection[str]) -> None:
        """Forget what is noted of things that are no longer here."""
        for uid in set(self._deaths[kind]) - owners.keys() - set(found):
            self._deaths[kind].forget(uid)
        noted = [kept for kept in self._quarantine.all() if kept.kind == kind.kind and kept.uid not in found]
        await self._quarantine.clear(kept.uid for kept in noted if not kept.images or kept.uid in owners)

    async def _images(self) -> None:
        """Images whose owner is back; which have none the registry's collection finds."""
        noted = {kept.uid: kept.kind for kept in self._quarantine.all()}
        for kind in (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE):
            if kind.kind in noted.values():
                owners = await self._owners(kind)
                await self._returned([uid for uid, of in noted.items() if of == kind.kind and uid in owners])

    @contextlib.contextmanager
    def _each(self, what: str) -> Iterator[None]:
        try:
            yield
        except (HyperdError, OSError) as err:
            self._note_failure(what, str(err))

    def _tell(self) -> None:
        """An event for each thing that was found without an owner; one for all when they are many."""
        new, self._new = self._new, []
        for kept in new:
            _log.warning("%s", kept.sentence())
        if len(new) > _EVENTS:
            message = (
                f"{len(new)} things on this node have no owner in the store. They are kept; `hv gc` lists them."
            )
            self._event("Warning", "OwnerAbsent", message)
        else:
            for kept in new:
                self._event("Warning", "OwnerAbsent", kept.sentence())

    def _event(self, level: EventLevel, reason: str, message: str) -> None:
        node = self._context.informer(NODE).get("", self._context.node_name)
        if node is not None:
            self._context.events.event({**node, "apiVersion": "v1", "kind": "Node"}, level, reason, message)

    # On request

    async def empty(self, uids: Collection[str]) -> None:
        """Remove what is kept of these owners, guests that run included, if they are still absent.

        Raises NotFound for one of which nothing is kept, Conflict while the store has to be accepted first.
        """
        async with self._sweeping:
            await self._sweep()
            if self._context.witness.waits:
                raise Conflict(self._context.witness.sentence())
            for uid in uids:
                if self._quarantine.get(uid) is None and self.doubles.get(uid) is None:
                    raise NotFound(f"Nothing without an owner is kept here of {uid}; `hv gc` lists what is.")
            domains = await self._context.hypervisor.list_owned()
            for uid in uids:
                kept, double = self._quarantine.get(uid), self.doubles.get(uid)
                if double is not None:
                    _log.warning("Emptied: %s", double.sentence())
                    await self.doubles.remove(double)
                if kept is None:
                    continue
                owners = await self._require_absent(kept)
                if kept.kind == VIRTUAL_MACHINE.kind:
                    warrant = self._fence.require_absent(uid, owners, domains.get(uid))
                    _log.warning("Emptied: %s", kept.sentence())
                    await self._remove_machine(uid, domains.get(uid), warrant)
                    await self._quarantine.clear([uid])
                    continue
                _log.warning("Emptied: %s", kept.sentence())
                if kept.kind == VIRTUAL_DISK_SNAPSHOT.kind:
                    await self._remove_snapshot(uid)
                if kept.kind == VIRTUAL_DISK.kind and kept.things and not await self._remove_volume(uid):
                    raise Conflict(f"A guest has the volume of disk {kept.name or uid} open; empty that first.")
                if not kept.images:
                    await self._quarantine.clear([uid])

    async def _require_absent(self, kept: Kept) -> Mapping[str, Item]:
        """Raises Conflict unless the store itself says just now that what is kept has no owner here.

        All owners of that kind come back, by uid.

        The sweep before may have been put off, and its notes are then as old as that.
        """
        for kind, node_of in (
            (VIRTUAL_MACHINE, machine_node),
            (VIRTUAL_DISK, disk_node),
            (VIRTUAL_DISK_SNAPSHOT, disk_node),
        ):
            if kept.kind != kind.kind:
                continue
            owners = await self._owners(kind)
            if self._context.witness.waits:
                raise Conflict(self._context.witness.sentence())
            if not self._without_owner(owners.get(kept.uid), node_of):
                await self._returned([kept.uid])
                raise Conflict(f"{kept.kind} {kept.name or kept.uid} is back in the store; delete it there.")
            return owners
        return {}

    async def accept(self) -> None:
        """An administrator says that the store is right as it is."""
        listing = await self._context.store.list(VIRTUAL_MACHINE)
        await self._context.witness.accept(listing.resource_version)
        await self._fence.accept({item.uid: item for item in listing.items})
        await self.sweep()
