"""Samples of the node and its guests: one bulk call, whoever and however many look.

Every 2 s while somebody watches, else every 15 s, for metrics. Nothing waits for a guest that is busy: it is
passed over, and its last sample grows old.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from hyperd import clock
from hyperd.api.wire.metrics import Sample as Metric
from hyperd.errors import HyperdError
from hyperd.hypervisor.state import DomainInfo, DomainStats
from hyperd.resources.values.names import SYSTEM_NAMESPACE

WATCHED_SECONDS: Final = 2.0
QUIET_SECONDS: Final = 15.0
FRESH_SECONDS: Final = 1.0
"""A sample that is not older serves who asks now."""
KEPT: Final = 4
"""Samples that a watch may go on from."""
_VERSIONS_PER_SECOND: Final = 1000


class Guests(Protocol):
    """Of a hypervisor, what is sampled."""

    @property
    def last_known(self) -> Mapping[str, DomainInfo]: ...

    async def stats(self) -> dict[str, DomainStats]:
        """One sample of all running domains, in one call. Raises HyperdError."""
        ...


@dataclass(frozen=True)
class HostSample:
    """The node itself; times in nanoseconds, all else in bytes."""

    cores: int = 0
    busy_ns: int = 0
    io_wait_ns: int = 0
    memory: int = 0
    memory_available: int = 0
    storage: int = 0
    storage_available: int = 0


@dataclass(frozen=True)
class Sample:
    """All at one moment. ``number`` only grows, also over a restart of the daemon."""

    number: int
    wall: float
    uptime_ns: int
    host: HostSample
    machines: tuple[tuple[DomainInfo, DomainStats], ...]


class Sampler:
    """Takes samples for who asks, and keeps the last ones."""

    def __init__(self, guests: Guests, *, storage: Path) -> None:
        self._guests = guests
        self._storage = storage
        self._recent: deque[Sample] = deque(maxlen=KEPT)
        self._watchers = 0
        self._taking = asyncio.Lock()
        self._taken = asyncio.Condition()
        self._looked_at = asyncio.Event()

    @property
    def last(self) -> Sample | None:
        return self._recent[-1] if self._recent else None

    def at(self, number: int) -> Sample | None:
        """The sample of that number, if it is still kept."""
        return next((sample for sample in self._recent if sample.number == number), None)

    async def fresh(self) -> Sample:
        """A sample of now. Raises HyperdError."""
        async with self._taking:
            last = self.last
            if last is None or time.clock_gettime_ns(time.CLOCK_BOOTTIME) - last.uptime_ns > FRESH_SECONDS * 1e9:
                last = await self._take()
            return last

    async def after(self, number: int) -> Sample:
        """The next sample behind that of ``number``."""
        async with self._taken:
            while (last := self.last) is None or last.number <= number:
                await self._taken.wait()
            return last

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Somebody wants every sample there is."""
        self._watchers += 1
        self._looked_at.set()
        try:
            yield
        finally:
            self._watchers -= 1

    async def run(self) -> None:
        """Take them, until cancelled."""
        while True:
            try:
                await self.fresh()
            except HyperdError:
                pass  # the hypervisor is away; others say so
            self._looked_at.clear()
            if self._watchers:
                await asyncio.sleep(WATCHED_SECONDS)
                continue
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._looked_at.wait()
            except TimeoutError:
                continue

    async def _take(self) -> Sample:
        measured = await self._guests.stats()
        uptime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        host = await asyncio.to_thread(_host, self._storage)
        known = self._guests.last_known
        machines = tuple((known[uid], stats) for uid, stats in measured.items() if uid in known)
        before = self.last.number if self.last is not None else 0
        wall = clock.wall()
        number = max(before + 1, int(wall * _VERSIONS_PER_SECOND))
        sample = Sample(number, wall, uptime, host, machines)
        async with self._taken:
            self._recent.append(sample)
            self._taken.notify_all()
        return sample

    def samples(self) -> Iterator[Metric]:
        """For ``/metrics``: the last ones."""
        last = self.last
        if last is None:
            return
        for info, stats in last.machines:
            if info.namespace == SYSTEM_NAMESPACE:
                continue  # whoever scrapes may not be one of those who may look there
            labels = (("namespace", info.namespace), ("name", info.vm_name))
            counters = (
                ("cpu_seconds", stats.cpu_time_ns / 1e9, "For how long its processors ran."),
                ("disk_read_bytes", sum(disk.read_bytes for disk in stats.disks), "Read from its disks."),
                ("disk_written_bytes", sum(disk.write_bytes for disk in stats.disks), "Written to its disks."),
                ("network_received_bytes", sum(nic.tx_bytes for nic in stats.nics), "Received by the guest."),
                ("network_sent_bytes", sum(nic.rx_bytes for nic in stats.nics), "Sent by the guest."),
            )
            for name, value, help_ in counters:
                yield Metric(f"hyperd_machine_{name}_total", value, labels, kind="counter", help=help_)
            yield Metric(
                "hyperd_machine_memory_resident_bytes", stats.resident_bytes, labels,
                help="What its QEMU holds of the node's memory.",
            )  # fmt: skip


def _host(storage: Path) -> HostSample:
    """Blocking, for some hundred microseconds."""
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    user, nice, system, _, iowait, irq, softirq, steal = (
        int(word) * tick for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    )
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    volume = os.statvfs(storage)
    return HostSample(
        cores=os.cpu_count() or 1,
        busy_ns=user + nice + system + irq + softirq + steal,
        io_wait_ns=iowait,
        memory=int(memory["MemTotal"].split()[0]) << 10,
        memory_available=int(memory["MemAvailable"].split()[0]) << 10,
        storage=volume.f_blocks * volume.f_frsize,
        storage_available=volume.f_bavail * volume.f_frsize,
    )
