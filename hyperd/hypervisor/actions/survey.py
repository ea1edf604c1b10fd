"""The last picture of all domains, and what changed in it that no event told.

One bulk call gives the states of all; only domains whose state or QEMU is another one are read in full. A domain
that is missing is kept until a second look misses it too: after libvirtd starts, a first list may be short.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import libvirt

from hyperd.hypervisor.actions.reader import Reader, Stamp
from hyperd.hypervisor.state import DomainInfo


@dataclass(frozen=True)
class Look:
    """What one look found: all states, full readings of what changed, and who is missing."""

    stamps: dict[str, Stamp]
    fresh: dict[str, DomainInfo]
    missing: frozenset[str]


class Survey:
    """Lives on the event loop; only ``look`` runs in a thread, one at a time."""

    def __init__(self, reader: Reader) -> None:
        self.known: dict[str, DomainInfo] = {}
        self._reader = reader
        self._stamps: dict[str, Stamp] = {}
        self._missing: frozenset[str] = frozenset()

    def note(self, info: DomainInfo) -> None:
        """A fresh reading of one domain."""
        self.known[info.uid] = info

    def forget(self, uid: str) -> None:
        """libvirt said that it is gone."""
        self.known.pop(uid, None)

    def look(self, conn: libvirt.virConnect, *, known: Mapping[str, DomainInfo]) -> Look:
        """Blocking, and changes nothing here. ``known`` is a copy: the loop goes on meanwhile."""
        stamps = self._reader.stamps(conn)
        changed = [
            uid
            for uid, stamp in stamps.items()
            if self._stamps.get(uid) != stamp
            # two readings that overtook each other leave an old one behind
            or (uid in known and known[uid].state is not stamp.domain_state)
        ]
        return Look(
            stamps=stamps,
            fresh=self._reader.infos(conn, changed),
            missing=frozenset(uid for uid in known if uid not in stamps and not self._reader.qemu_lives(uid)),
        )

    def take(self, look: Look) -> list[str]:
        """Make the look the last picture; uids of the domains that it shows to be other than known."""
        changed = [uid for uid, info in look.fresh.items() if self.known.get(uid) != info]
        self.known.update(look.fresh)
        gone = look.missing & self._missing
        for uid in gone:
            self.forget(uid)
        self._missing = look.missing - gone
        self._stamps = look.stamps
        return [*changed, *gone]
