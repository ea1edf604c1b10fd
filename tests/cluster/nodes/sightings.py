"""Which QEMU ran where and when, as the machine beneath all nodes sees its processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes.node import Node

_SECONDS = 0.2


@dataclass
class Guest:
    """One QEMU: of which machine (uid), on which node, first and last seen."""

    machine: str
    node: str
    pid: int
    first: float
    last: float


@dataclass
class Sightings:
    """Of all guests of the nodes; ``crowded`` are moments at which a machine had more than one."""

    nodes: Sequence[Node]
    guests: dict[tuple[int, str], Guest] = field(default_factory=dict)
    crowded: list[str] = field(default_factory=list)
    _alive: dict[str, list[Guest]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> None:
        homes: dict[str, str] = {}
        for node in self.nodes:
            with suppress(OSError, PlaneError):  # it may be off
                homes[_room(node.first)] = node.name
        now, alive = time.monotonic(), dict[str, list[Guest]]()
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with suppress(OSError, ValueError, IndexError):
                if "qemu-system" not in os.readlink(folder / "exe"):
                    continue
                words = (folder / "cmdline").read_bytes().split(b"\0")
                uid = words[words.index(b"-uuid") + 1].decode()
                if (home := homes.get(_room(int(folder.name)))) is None:
                    continue
                began = (folder / "stat").read_text().rpartition(")")[2].split()[19]
                guest = self.guests.setdefault(
                    (int(folder.name), began), Guest(uid, home, int(folder.name), now, now)
                )
                guest.last = now
                alive.setdefault(uid, []).append(guest)
        with self._lock:
            self._alive = alive
            for uid, found in alive.items():
                if len(found) > 1:
                    self.crowded.append(f"{uid} on {', '.join(guest.node for guest in found)}")

    def of(self, machine: str) -> Guest | None:
        """The guest of the machine that lives now."""
        with self._lock:
            return next(iter(self._alive.get(machine, ())), None)


@contextmanager
def watching(nodes: Sequence[Node]) -> Iterator[Sightings]:
    """Look again and again while the block runs."""
    seen, ended = Sightings(nodes), threading.Event()

    def run() -> None:
        while not ended.wait(_SECONDS):
            seen.look()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _room(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/uts")
