"""What a client that watches may see of images and disks, judged at every event.

The reference's own end-to-end suite holds its controllers to the same: phases go forward, progress neither goes
back nor leaps over a half, and Ready is told by phase, condition and fields in one write.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from hyperd.client import home
from hyperd.client.sync import Client
from tests.host.running import Hyperd, Object, condition, resource

_RANKS = {"": 0, "Pending": 1, "Provisioning": 2, "WaitForUserUpload": 2, "WaitForFirstConsumer": 2, "Ready": 3}
_FOREVER_SECONDS = 3600.0


@dataclass
class _Seen:
    rank: int = 0
    phase: str = ""
    progress: float | None = None


@dataclass
class Watcher:
    """Watches kinds from its making on; ``broken`` are sentences of what no client should have seen."""

    daemon: Hyperd
    words: tuple[str, ...] = ("vi", "cvi", "vd")
    broken: list[str] = field(default_factory=list)
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _clients: list[Client] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        for word in self.words:
            client = Client(home.local(str(self.daemon.socket)), timeout=_FOREVER_SECONDS)
            thread = threading.Thread(target=self._watch, args=(client, word), daemon=True)
            self._clients.append(client)
            self._threads.append(thread)
            thread.start()

    def _watch(self, client: Client, word: str) -> None:
        # The watch ends with its daemon.
        for event in client.watch(resource(word), None, timeout=_FOREVER_SECONDS):
            if event["type"] != "DELETED":
                self.broken += [
                    f"{word} {event['object']['metadata']['name']}: {one}" for one in self._judge(event)
                ]

    def _judge(self, event: Object) -> list[str]:
        obj = event["object"]
        status, seen = obj.get("status") or {}, self._seen.setdefault(obj["metadata"]["uid"], _Seen())
        return [*_phase(status, seen), *_progress(status, seen), *_ready(obj, status)]

    def join(self) -> None:
        """Once the daemon has ended: wait for all that was still to be judged."""
        for thread in self._threads:
            thread.join(10)
        for client in self._clients:
            client.close()


def _phase(status: Object, seen: _Seen) -> list[str]:
    phase = status.get("phase", "")
    rank, before = _RANKS.get(phase), seen.rank
    if rank is None:
        return []
    seen.rank = max(before, rank)
    return [f"back from {seen.phase} to {phase or 'none'}"] if rank < before else []


def _progress(status: Object, seen: _Seen) -> list[str]:
    before, was = seen.progress, seen.phase
    seen.phase = status.get("phase", "")
    if not status.get("progress"):
        return []
    now = seen.progress = float(status["progress"].removesuffix("%"))
    if before is None:
        return []
    found = [f"progress back from {before} to {now}"] if now < before else []
    if was == seen.phase == "Provisioning" and ((before == 0 and now >= 50) or (before == 50 and now >= 100)):
        found.append(f"progress leaps from {before} to {now}")
    return found


def _ready(obj: Object, status: Object) -> list[str]:
    ready = condition(obj, "Ready")
    is_ready = (ready.get("status"), ready.get("reason")) == ("True", "Ready")
    if ready.get("observedGeneration") != obj["metadata"]["generation"]:
        return []
    if is_ready != (status.get("phase") == "Ready"):
        return [f"phase {status.get('phase')} with Ready={ready.get('status')}/{ready.get('reason')}"]
    if not is_ready:
        return []
    wanted = {"progress": status.get("progress") == "100%"}
    if obj["kind"] == "VirtualDisk":
        wanted |= {name: bool(status.get(name)) for name in ("capacity", "storageClassName", "target")}
    return [f"Ready without {name}" for name, there in wanted.items() if not there]
