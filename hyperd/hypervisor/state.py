"""What libvirt says about domains, in our own words: states, events, statistics.

libvirt doubles some events and loses others with its connection, so an event says only *look at this domain*;
the truth is ``DomainInfo``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hyperd.imagefile.handle import Handle


class DomainState(StrEnum):
    """Coarse state of a domain. ``shutdown`` is the short way from running to shutoff."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    SHUTOFF = "shutoff"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class DomainDisk:
    """One disk that a domain has: what libvirt calls it (``sda``), and the serial that says whose it is."""

    target: str
    serial: str


@dataclass(frozen=True, slots=True)
class Emulator:
    """A program that runs guests. Two are the same where their ``digest`` is."""

    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class DomainInfo:
    """One domain of ours, as libvirt has it now.

    ``generation`` and ``applied`` are those of the running QEMU while the domain runs, else of the definition.
    ``reason`` is libvirt's word for how it came to ``state``: for paused ``user``, ``ioerror``, ``starting-up``…;
    for shutoff ``shutdown``, ``destroyed``, ``crashed``, ``failed``, ``unknown``…; for running ``booted``,
    ``unpaused``… ``pid`` is QEMU's, None when off or unknown. ``disks`` are the running QEMU's too. ``epoch`` is
    the fencing token that it was made under, 0 for one from before there were any.
    """

    uid: str
    namespace: str
    vm_name: str
    generation: int
    applied: str
    state: DomainState
    reason: str
    persistent: bool
    pid: int | None = None
    agent_connected: bool = False
    disks: tuple[DomainDisk, ...] = ()
    epoch: int = 0

    @property
    def active(self) -> bool:
        """Whether a QEMU process lives."""
        return self.state not in (DomainState.SHUTOFF, DomainState.CRASHED)


class EventKind(StrEnum):
    """What happened."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    STARTED = "started"
    STOPPED = "stopped"
    SHUTDOWN = "shutdown"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    CRASHED = "crashed"
    REBOOTED = "rebooted"
    IO_ERROR = "io-error"
    DEVICE_ADDED = "device-added"
    DEVICE_REMOVED = "device-removed"
    AGENT = "agent"
    FROZEN = "frozen"
    RESYNCED = "resynced"


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """One event of one domain of ours.

    ``reason``: for stopped ``shutdown``, ``destroyed``, ``crashed``, ``failed``…; for shutdown ``guest`` or
    ``host``, who asked; for suspended ``paused``, ``ioerror``…; for io-error ``enospc`` or ``other``; for agent
    ``connected`` or ``disconnected``. ``device`` is an alias or a target. ``frozen`` tells of thaws too, and
    ``resynced`` says that a listing found what no event told.
    """

    uid: str
    kind: EventKind
    reason: str = ""
    device: str = ""


class IoError(StrEnum):
    """Why a disk stopped its guest."""

    NO_SPACE = "no-space"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class GuestInfo:
    """What the guest's agent tells; untrusted text, empty where it said nothing."""

    os_id: str = ""
    os_name: str = ""
    os_pretty_name: str = ""
    os_version: str = ""
    os_version_id: str = ""
    kernel_release: str = ""
    kernel_version: str = ""
    machine: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class Mirror:
    """How far the copy of a guest's disk is, in bytes; a ``ready`` one has all, and follows what is written."""

    copied: int
    total: int
    ready: bool


@dataclass(frozen=True, slots=True)
class Departure:
    """How a guest goes to another node's hypervisor.

    ``peer`` is a socket by which libvirtd there is reached; ``memory`` and ``disks`` are what QEMU there listens
    on, and here something by that path that leads to it. ``sources`` is what its disks are opened by there, by
    their serials: these are copied but those that are ``shared``, whose volumes both nodes reach. ``domain`` is
    how it is marked there. ``slows`` lets the guest be slowed down.
    """

    peer: Path
    memory: Path
    disks: Path
    sources: Mapping[str, Handle]
    domain: DomainInfo
    bytes_per_second: int = 0
    slows: bool = False
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far a guest's memory and disks are sent, in bytes; ``throttle`` is in percent."""

    total: int
    processed: int
    remaining: int
    iteration: int = 0
    seconds: float = 0.0
    throttle: int = 0


@dataclass
class Frozen:
    """One freeze. ``whole`` is known at its end: whether the guest was held from its begin until then."""

    file_systems: int
    whole: bool = False
    seconds: float = 0.0
    """How long it was held, by this host's clock."""


@dataclass(frozen=True, slots=True)
class DiskStats:
    """Counters of one disk since QEMU's start; ``target`` is ``sda``…"""

    target: str
    read_bytes: int = 0
    read_requests: int = 0
    write_bytes: int = 0
    write_requests: int = 0


@dataclass(frozen=True, slots=True)
class NicStats:
    """Counters of one tap, from the host's side: ``rx`` is what the guest sent."""

    tap: str
    rx_bytes: int = 0
    tx_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DomainStats:
    """One sample of one running domain."""

    cpu_time_ns: int = 0
    vcpus: int = 0
    vcpu_delay_ns: int = 0
    """For how long its vCPUs waited for a processor of the host; 0 where the kernel does not tell."""
    memory_bytes: int = 0
    resident_bytes: int = 0
    usable_bytes: int | None = None
    """What the guest could still use, where its balloon has told."""
    disks: tuple[DiskStats, ...] = ()
    nics: tuple[NicStats, ...] = ()
