"""Guests that use what a test says, as a hypervisor would measure them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hyperd.errors import ServiceUnavailable
from hyperd.hypervisor.state import DiskStats, DomainInfo, DomainState, DomainStats, NicStats


class Guests:
    """Guests that use what the test says."""

    def __init__(self) -> None:
        self.used: dict[str, DomainStats] = {}
        self.last_known: Mapping[str, DomainInfo] = {}
        self.calls = 0
        self.away = False

    def run(self, *names: str, namespace: str = "shop") -> None:
        known = dict(self.last_known)
        for name in names:
            known[f"uid-{name}"] = DomainInfo(
                f"uid-{name}", namespace, name, 1, "", DomainState.RUNNING, "booted", True
            )
            self.used[f"uid-{name}"] = DomainStats(
                cpu_time_ns=1_000, vcpus=2, memory_bytes=1 << 30, resident_bytes=1 << 29,
                disks=(DiskStats("sda", 10, 1, 20, 2),), nics=(NicStats("tap0", rx_bytes=7, tx_bytes=9),),
            )  # fmt: skip
        self.last_known = known

    def work(self, name: str, *, cpu_seconds: float, written: int = 0, sent: int = 0) -> None:
        """It has used so much more."""
        used = self.used[f"uid-{name}"]
        disk, nic = used.disks[0], used.nics[0]
        self.used[f"uid-{name}"] = replace(
            used,
            cpu_time_ns=used.cpu_time_ns + int(cpu_seconds * 1e9),
            disks=(replace(disk, write_bytes=disk.write_bytes + written),),
            nics=(replace(nic, rx_bytes=nic.rx_bytes + sent),),
        )

    async def stats(self) -> dict[str, DomainStats]:
        self.calls += 1
        if self.away:
            raise ServiceUnavailable("libvirt is not reachable.")
        return dict(self.used)
