"""Frees what deleted snapshots held: what their storage cannot do itself, the guests' QEMUs do.

Nothing is remembered: what is to be done is read from the storage each time, and whatever ends a merge leaves a
chain that reads as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from hyperd import clock
from hyperd.backoff import backoff
from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.machine.held import serial_of
from hyperd.errors import HyperdError
from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT
from hyperd.storage.interface import Merge, MergeKind
from hyperd.store.interface import EventType, Item

PERIOD_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 1.0
"""While something is under way."""
LAST_SECONDS: Final = 600.0
"""The longest wait of one that fails again and again."""
_log = logging.getLogger(__name__)


class Merges:
    """Looks every ``PERIOD_SECONDS``, and when a disk or a snapshot has gone."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._wake = asyncio.Event()
        self._told: dict[str, str] = {}
        """What could not be done, by volume: told once."""
        self._tries: dict[Merge, tuple[int, float]] = {}
        """How often each was done, or failed, and is there still to be done; and when it may be tried again."""
        for kind in (VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT):
            context.informer(kind).add_handler(self._on_event)

    def _on_event(self, type_: EventType, _: Item | None, new: Item | None) -> None:
        if new is None:
            self._wake.set()

    async def run(self) -> None:
        """Merge until cancelled."""
        while True:
            self._wake.clear()
            pause = PERIOD_SECONDS
            try:
                pause = AGAIN_SECONDS if await self.merge() else PERIOD_SECONDS
            except HyperdError as err:
                _log.warning("What deleted snapshots held is freed later: %s", err.message)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def merge(self) -> bool:
        """One round; whether there is more to do soon."""
        if not self._context.hypervisor.connected:
            return False
        guests = await self._guests()
        merges = await self._context.volumes.merges(guests.keys())
        self._tries = {merge: self._tries[merge] for merge in merges if merge in self._tries}
        moved = False
        for merge in merges:
            if self._is_moved(merge.uid):
                continue
            if clock.elapsed() < self._tries.get(merge, (0, 0.0))[1]:
                continue
            try:
                moved = await self._merge(merge, guests[merge.uid]) or moved
                self._told.pop(merge.uid, None)
            except HyperdError as err:
                self._later(merge)
                if self._told.get(merge.uid) != err.message:
                    self._told[merge.uid] = err.message
                    _log.warning("What a snapshot of volume %s held is freed later: %s", merge.uid, err.message)
        return moved

    def _is_moved(self, volume: str) -> bool:
        """Whether the disk goes to another StorageClass: its QEMU does that, and leaves these layers."""
        disks = (item.object() for item in self._context.informer(VIRTUAL_DISK).by_index(usage.UID_INDEX, volume))
        return any(usage.is_moved(disk) for disk in disks)

    async def _merge(self, merge: Merge, guest: DomainInfo) -> bool:
        """Whether it goes on or is done."""
        serial, hypervisor = serial_of(merge.uid), self._context.hypervisor
        if guest.state is DomainState.PAUSED:
            return False  # it may be short of the space that a merge takes
        if merge.kind is MergeKind.PULL:
            done = await hypervisor.pull(guest.uid, serial, base=merge.base)
        elif merge.kind is MergeKind.SETTLE:
            done = await hypervisor.settle(guest.uid, serial)
        else:
            done = await hypervisor.commit(guest.uid, serial, upper=merge.upper, lower=merge.lower)
        if done:
            self._later(merge)
            await self._context.volumes.merged(merge)
        return True

    def _later(self, merge: Merge) -> None:
        """One that is offered again although it was done has failed in QEMU: its next try may wait."""
        count = self._tries.get(merge, (0, 0.0))[0] + 1
        self._tries[merge] = count, clock.elapsed() + backoff(count, first=AGAIN_SECONDS, last=LAST_SECONDS)

    async def _guests(self) -> dict[str, DomainInfo]:
        """Volume → the guest that has it open here, whoever owns them."""
        disks = {serial_of(volume.uid): volume.uid for volume in await self._context.volumes.inventory()}
        return {
            uid: domain
            for domain in self._context.hypervisor.last_known.values()
            if domain.active
            for disk in domain.disks
            if (uid := disks.get(disk.serial))
        }
