"""What runs short on this node, as a kubelet tells it: space for disks and images, memory, process ids.

A shortage is told early enough to do something about it: before the store is full, and before guests are killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperd.hypervisor.facts.host import meminfo
from hyperd.resources.core.node import NodeConditionType, NodeReason
from hyperd.resources.values.conditions import ConditionStatus
from hyperd.resources.values.quantity import format_human
from hyperd.settings import Settings

_REASONS = {
    NodeConditionType.MEMORY_PRESSURE: (NodeReason.MEMORY_PRESSURE, NodeReason.SUFFICIENT_MEMORY),
    NodeConditionType.DISK_PRESSURE: (NodeReason.DISK_PRESSURE, NodeReason.NO_DISK_PRESSURE),
    NodeConditionType.PID_PRESSURE: (NodeReason.PID_PRESSURE, NodeReason.SUFFICIENT_PID),
}
"""Of each type: while it is short, and while it is not."""
TYPES = tuple(_REASONS)
_DISK_SHARE = 10
"""A tenth of a file system should be free, as kubelet has it by default …"""
_DISK_ENOUGH_BYTES = 10 << 30
"""… but of a large one no more than this."""
_INODE_SHARE = 20
_MEMORY_BYTES = 100 << 20
_PID_SHARE = 10
_RELIEF = 1.1
"""A shortage ends only when there is a tenth more than it began with, or it would come and go."""


@dataclass(frozen=True)
class Pressure:
    """One condition of a Node; ``shortage`` is a sentence, empty where nothing is short."""

    type: NodeConditionType
    shortage: str
    quiet_message: str

    @property
    def status(self) -> ConditionStatus:
        return ConditionStatus.TRUE if self.shortage else ConditionStatus.FALSE

    @property
    def reason(self) -> NodeReason:
        short, quiet = _REASONS[self.type]
        return short if self.shortage else quiet

    @property
    def message(self) -> str:
        return self.shortage or self.quiet_message


def look(settings: Settings, before: Mapping[NodeConditionType, bool]) -> list[Pressure]:
    """What is short now; ``before`` says by type what was. Blocks for the moment of some statvfs calls."""

    def wanted(type_: NodeConditionType, amount: int) -> int:
        return int(amount * _RELIEF) if before.get(type_) else amount

    disk = next(_short_disks(settings, lambda amount: wanted(NodeConditionType.DISK_PRESSURE, amount)), "")
    memory = pids = ""
    if meminfo()["MemAvailable"] < wanted(NodeConditionType.MEMORY_PRESSURE, _MEMORY_BYTES):
        memory = f"Less than {format_human(_MEMORY_BYTES)} of memory are free."
    running, most = _processes()
    if most - running < wanted(NodeConditionType.PID_PRESSURE, most // _PID_SHARE):
        pids = f"Fewer than a tenth of {most} process ids are free."
    return [
        Pressure(NodeConditionType.MEMORY_PRESSURE, memory, "There is enough memory."),
        Pressure(NodeConditionType.DISK_PRESSURE, disk, "There is space for state, disks and images."),
        Pressure(NodeConditionType.PID_PRESSURE, pids, "There are enough process ids."),
    ]


def _short_disks(settings: Settings, wanted: Callable[[int], int]) -> Iterator[str]:
    """A sentence for each file system with too little left, of those that hold what grows."""
    seen = set()
    for folder in (settings.state_dir, settings.volumes_dir, settings.images_dir, settings.registry_dir):
        try:
            device, found = folder.stat().st_dev, os.statvfs(folder)
        except FileNotFoundError:
            continue  # an outside registry needs no folder here
        if device in seen:
            continue
        seen.add(device)
        whole, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
        least = max(settings.storage.reserve_bytes, min(whole // _DISK_SHARE, _DISK_ENOUGH_BYTES))
        if free < wanted(least):
            yield f"Less than {format_human(least)} of {format_human(whole)} are free at {folder}."
        # Some file systems have no fixed number of inodes.
        elif found.f_files and found.f_favail < wanted(found.f_files // _INODE_SHARE):
            yield f"Less than one in {_INODE_SHARE} inodes is free at {folder}."


def _processes() -> tuple[int, int]:
    """How many tasks there are on the host, and may be."""
    tasks = Path("/proc/loadavg").read_text().split()[3].partition("/")[2]
    limits = (Path(f"/proc/sys/kernel/{name}").read_text() for name in ("pid_max", "threads-max"))
    return int(tasks), min(int(limit) for limit in limits)
