"""Disks of which two storages have a volume, while no move is under way: one is the disk's, the other nobody uses.

A store that was restored may have forgotten the move that made the second one, and either may hold what the other
does not. So both stay until an administrator has looked, is told of by ``hv gc``, and named by an event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperd.controllers.context import Context
from hyperd.controllers.disk.ready import keeper_of
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holders import openers
from hyperd.errors import Conflict
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.values.meta import now_rfc3339
from hyperd.runtime.operations.record import Record
from hyperd.storage.interface import Volume
from hyperd.store.interface import Item

REASON = "SecondVolume"
"""Of the event about the disk."""


@dataclass(frozen=True)
class Double:
    """``used`` is the provisioner with the volume of the disk called ``name``, ``others`` have the rest.

    ``unsure`` where a move from ``used`` to one of them may have ended: that has what is newer then.
    """

    uid: str
    name: str
    used: str
    others: tuple[str, ...]
    since: str = ""
    unsure: bool = False

    def sentence(self) -> str:
        """For people."""
        if self.unsure:
            return (
                f"VirtualDisk {self.name} (uid {self.uid}) was being moved from {self.used}, and "
                f"{' and '.join(self.others)} has a volume of it too, since {self.since}: this node does not know "
                "which is newer. Neither is removed: look at what is in both, and move the older one away."
            )
        return (
            f"VirtualDisk {self.name} (uid {self.uid}) has its volume with {self.used}, and "
            f"{' and '.join(self.others)} has another one of that uid, which nobody uses, since {self.since}. "
            f"Both are left as they are: look at what is in the other one. `hv gc empty {self.uid}` removes that."
        )


class Doubles:
    """Of this node, as the last sweep has found them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found: dict[str, Double] = {}

    def all(self) -> Sequence[Double]:
        """By uid."""
        return [self._found[uid] for uid in sorted(self._found)]

    def get(self, uid: str) -> Double | None:
        return self._found.get(uid)

    async def look(self, owners: Mapping[str, Item]) -> None:
        """Among all disks of the store. What is new is told of."""
        held = defaultdict[str, list[Volume]](list)
        for volume in await self._context.volumes.inventory():
            held[volume.uid].append(volume)
        twice = {uid: found for uid, found in held.items() if len(found) > 1 and uid in owners}
        now = {uid: self._of(owners[uid], found) for uid, found in twice.items()}
        before, self._found = self._found, {uid: one for uid, one in now.items() if one is not None}
        for uid, one in self._found.items():
            if uid not in before:
                self._context.events.event(owners[uid].object(), "Warning", REASON, one.sentence())

    def _of(self, item: Item, volumes: Sequence[Volume]) -> Double | None:
        disk = item.object()
        keeper = keeper_of(disk) if disk["kind"] == VIRTUAL_DISK.kind else None
        if keeper is None or Record.of(disk) is not None:
            return None
        departures = self._context.volumes.departures
        used = departures.now(item.uid, keeper.provisioner)
        others = tuple(sorted({volume.provisioner for volume in volumes} - {used}))
        note = departures.get(item.uid, used)
        before = self._found.get(item.uid)
        since = before.since if before is not None else now_rfc3339()
        name = f"{item.namespace}/{item.name}"
        unsure = note is not None and note.to in others
        return Double(item.uid, name, used, others, since, unsure) if others else None

    async def remove(self, double: Double) -> None:
        """Those that nobody uses, of what was found just now. Raises Conflict where a guest has one open.

        Nor is any removed that may be the newer one.
        """
        context = self._context
        if double.unsure:
            raise Conflict(double.sentence())
        for domain in openers(context, double.uid):
            opened = (await context.hypervisor.sources(domain)).get(serial_of(double.uid))
            for other in double.others:
                if opened is not None and opened == await context.volumes.attach_copy(double.uid, other):
                    raise Conflict(f"The guest of domain {domain} has the volume open that {other} has.")
        for other in double.others:
            await context.volumes.remove_copy(double.uid, other, kept=double.used)
        self._found.pop(double.uid, None)
