"""What a hypervisor is to the rest of the house: the domains of one instance, by their machines' uids.

Where nothing else is said, a call raises ServiceUnavailable while the hypervisor is away or does not answer in
time, and NotFound when the domain is not there. Each may be repeated after a crash: what is so is no error.
Events say only *look at this domain*; the truth is ``DomainInfo``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from hyperd.hypervisor.facts.host import HostFacts
from hyperd.hypervisor.slots import Slot, Slots
from hyperd.hypervisor.spec import DiskSpec, DomainSpec
from hyperd.hypervisor.state import (
    Departure,
    DomainEvent,
    DomainInfo,
    DomainStats,
    Emulator,
    Frozen,
    GuestInfo,
    Mirror,
    Transfer,
)
from hyperd.imagefile.handle import Handle


class Mirrors(Protocol):
    """Copies of disks of guests that run, by the disk's serial, for a guest to go on in. They end with the guest.

    Raises NotFound where the guest does not run, or has the disk no more.
    """

    async def begin(
        self, uid: str, serial: str, target: Handle, *, bytes_per_second: int, shallow: bool = False
    ) -> None:
        """Have all that the disk holds copied into ``target``, which is as large; it then follows what is written.

        A ``shallow`` one gets what the disk's own file holds, and overlays the same content as that.
        ``bytes_per_second`` limits that unless it is 0. TemporaryError while the disk is busy with another thing.
        """
        ...

    async def state(self, uid: str, serial: str) -> Mirror | None:
        """None where there is none, or one has failed."""
        ...

    async def end(self, uid: str, serial: str) -> None:
        """Leave what was copied; nothing to do is fine."""
        ...

    async def take(self, uid: str, serial: str, target: Handle) -> None:
        """Stop the guest, and have its disk be the copy ``target``: who asked for that lets it go on.

        Where it fails the guest goes on as before. TemporaryError for one that is stopped already.
        """
        ...


class Holds(Protocol):
    """Guests whose file systems are frozen for somebody, and thawed whatever happens, our own end included."""

    def is_frozen(self, uid: str) -> bool:
        """Whether the guest's file systems are frozen by this daemon, for whatever; an event tells of changes."""
        ...

    async def hold(self, uid: str, seconds: float) -> tuple[int, float]:
        """Freeze a guest until ``release``, for ``seconds`` at the most; one that is held stays as it was asked.

        Returns the number of file systems, and the seconds that are left. Raises what the agent answers, and
        TooManyRequests. What is ``frozen`` meanwhile shares it.
        """
        ...

    async def release(self, uid: str) -> bool | None:
        """Thaw a guest that is held: whether it was frozen all the time; None where it is not held."""
        ...

    def frozen(self, uid: str) -> AbstractAsyncContextManager[Frozen]:
        """The guest's agent holds its writes back while the block runs, for seconds at the most.

        Thawed whatever happens, the daemon's own end included. Raises what the agent answers: see
        ``guest_agent_info``.
        """
        ...

    async def thaw(self, uid: str) -> int:
        """The number of file systems that were frozen until now; one that is held for a user stays so."""
        ...


class Migrations(Protocol):
    """Guests that go to another node's hypervisor."""

    async def send(self, uid: str, departure: Departure) -> None:
        """Returns once the guest is off here, and stopped there: who asked for that lets it go on.

        Where it raises nobody knows where it is: both have to be looked at. It never runs on both.
        """
        ...

    async def progress(self, uid: str) -> Transfer | None:
        """None while nothing is sent."""
        ...

    async def abort(self, uid: str) -> None:
        """Have ``send`` fail, if it still can; nothing to do is fine."""
        ...


class Emulators(Protocol):
    """Programs that run guests."""

    async def present(self) -> Emulator | None:
        """What a guest would be started with now; None where nobody can tell."""
        ...

    async def running(self, pid: int | None) -> str:
        """The digest of what the guest's process ``pid`` runs; empty where nobody can tell."""
        ...


class Hypervisor(Protocol):
    """What controllers hold. Callbacks run on the event loop that called ``start``."""

    migrations: Migrations
    """To other nodes' hypervisors."""
    emulators: Emulators
    mirrors: Mirrors
    """Copies of disks of guests that run."""

    async def start(self) -> None:
        """Begin to connect; returns at once when the hypervisor is away, and goes on trying."""
        ...

    async def close(self) -> None:
        """Leave the hypervisor; domains go on."""
        ...

    @property
    def connected(self) -> bool:
        """Whether it can be asked, and what it holds has been listed."""
        ...

    @property
    def last_error(self) -> str:
        """Why not; empty while connected."""
        ...

    def on_domain(self, callback: Callable[[str, DomainEvent], None]) -> None:
        """Call back with uid and event."""
        ...

    def on_connection(self, callback: Callable[[bool], None]) -> None:
        """Call back when the hypervisor comes (True, after ``last_known`` is fresh) or goes."""
        ...

    @property
    def last_known(self) -> Mapping[str, DomainInfo]:
        """The last picture of every domain by uid, also while the hypervisor is away."""
        ...

    async def facts(self) -> HostFacts:
        """What the host can do; read once per connection."""
        ...

    async def qemu_version(self) -> str:
        """Of the QEMU that would be started now, which may be newer than the connection; empty without QEMU."""
        ...

    async def free_memory(self) -> int:
        """Bytes that new guests could take now without swapping. Needs no connection."""
        ...

    async def list_owned(self) -> dict[str, DomainInfo]:
        """All domains of this instance by uid."""
        ...

    async def info(self, uid: str) -> DomainInfo | None:
        """One domain, or None when it is not there.

        Raises ServiceUnavailable where the hypervisor has lost sight of a guest that lives.
        """
        ...

    async def slots(self, uid: str) -> Slots:
        """Where the devices of a domain sit, by ``Device.key``, whoever assigned it; none without a domain."""
        ...

    def assign(self, spec: DomainSpec) -> Slots:
        """Where the devices of ``spec`` are to sit: those in ``spec.slots`` stay, the others get what is free."""
        ...

    async def define(self, spec: DomainSpec) -> None:
        """Create or replace the definition; a guest that runs keeps its own until it ends."""
        ...

    async def start_domain(self, uid: str) -> None:
        """Start a defined domain; one that runs is left alone."""
        ...

    async def shutdown(self, uid: str) -> None:
        """Press the guest's power button (ACPI); returns at once. Nothing to do when it is off."""
        ...

    async def destroy(self, uid: str) -> None:
        """End the guest at once. Nothing to do when it is off."""
        ...

    async def undefine(self, uid: str, *, nvram: bool = True) -> None:
        """Remove the definition with saved state and metadata; NVRAM and TPM too, unless ``nvram`` is False.

        Nothing to do when it is gone. A running domain would live on without one: destroy it first.
        """
        ...

    async def resume(self, uid: str) -> None:
        """Let a paused guest go on."""
        ...

    async def block_resize(self, uid: str, source: Handle, size_bytes: int) -> None:
        """Grow the disk that a running guest has open by ``source``; NotFound when it has none by that.

        Raises Conflict rather than shrink it.
        """
        ...

    async def sources(self, uid: str) -> Mapping[str, Handle]:
        """What a guest has its disks open by now, by their serials; nothing of one that is off."""
        ...

    async def pivot(self, uid: str, tops: Mapping[str, Handle]) -> None:
        """Have a running guest write to other files from one moment on, for all disks, by serial, or for none.

        Each overlays what its disk is open by until then; where that is so by now there is nothing to do.
        """
        ...

    @property
    def holds(self) -> Holds:
        """Guests that are frozen."""
        ...

    async def pull(self, uid: str, serial: str, *, base: Handle | None) -> bool:
        """Have a running guest's disk read ``base`` next, with what lies between copied into its top.

        Whether it is done; if not it goes on, and is asked for again. What was pulled from stays until ``settle``.
        """
        ...

    async def settle(self, uid: str, serial: str) -> bool:
        """Have what a pull has brought be in the disk's file for good; False while it goes on.

        Raises NotFound where the guest does not run or has the disk no more: what it left is not known.
        """
        ...

    async def commit(self, uid: str, serial: str, *, upper: Handle, lower: Handle) -> bool:
        """Likewise, have what ``upper``, below the top, has copied into ``lower``, which takes its place."""

    async def attach_disk(self, uid: str, disk: DiskSpec, had: Slot) -> None:
        """Plug a disk into a running guest, at ``had`` if that is free; one that is there stays.

        Raises Conflict where the guest does not run.
        """
        ...

    async def detach_disk(self, uid: str, serial: str) -> bool:
        """Unplug the disk with ``serial`` from a running guest; False while the guest does not release it."""
        ...

    async def mark(self, domain: DomainInfo) -> None:
        """Write what ``domain`` says of itself, such as another ``applied`` record, into its metadata."""
        ...

    async def open_graphics(self, uid: str) -> socket.socket:
        """A connected VNC socket of the guest, for the caller to close."""
        ...

    async def guest_agent_info(self, uid: str) -> GuestInfo:
        """What the guest's agent tells of its system; ServiceUnavailable when it does not answer in seconds."""
        ...

    async def stats(self) -> dict[str, DomainStats]:
        """One sample of all running domains by uid, in one call; one whose QEMU is busy is left out."""
        ...
