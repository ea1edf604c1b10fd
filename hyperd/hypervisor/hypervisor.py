"""The one door to libvirt: domains of one instance, asynchronously."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from hyperd.hypervisor.host import HostFacts
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.state import DomainEvent, DomainInfo, DomainStats, GuestInfo, IoError
from hyperd.settings import HypervisorSettings


class Hypervisor:
    """libvirt as controllers see it. Only domains whose metadata names ``instance`` exist for it.

    Every call raises ServiceUnavailable while libvirt is down or does not answer in time, NotFound when the
    domain is not there, and else what ``errors_map`` makes of libvirt's error.
    """

    def __init__(self, settings: HypervisorSettings, *, instance: str) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to connect; returns at once when libvirt is down, and goes on trying."""

    async def close(self) -> None:
        """Leave libvirt; domains go on."""

    @property
    def connected(self) -> bool:
        """Whether libvirt answers."""
        raise NotImplementedError

    @property
    def last_error(self) -> str:
        """Why it does not; empty while connected."""
        raise NotImplementedError

    async def wait_connected(self, timeout: float = 30.0) -> None:
        """Return once connected. Raises ServiceUnavailable after ``timeout`` seconds."""

    def on_domain(self, callback: Callable[[str, DomainEvent], None]) -> None:
        """Call back, on the event loop, with uid and event."""

    def on_connection(self, callback: Callable[[bool], None]) -> None:
        """Call back, on the event loop, when libvirt comes (True) or goes."""

    @property
    def last_known(self) -> Mapping[str, DomainInfo]:
        """The last picture of every domain by uid, also while libvirt is down."""
        raise NotImplementedError

    async def facts(self) -> HostFacts:
        """What the host can do; read once per connection."""
        raise NotImplementedError

    async def list_owned(self) -> dict[str, DomainInfo]:
        """All domains of this instance by uid."""
        raise NotImplementedError

    async def info(self, uid: str) -> DomainInfo | None:
        """One domain, or None when it is not there."""
        raise NotImplementedError

    async def define(self, spec: DomainSpec) -> None:
        """Create or replace the definition; a running QEMU keeps its own until it ends."""

    async def start_domain(self, uid: str, *, paused: bool = False) -> None:
        """Start a defined domain; one that runs is left alone."""

    async def define_and_start(self, spec: DomainSpec, *, paused: bool = False) -> DomainInfo:
        """Define and start in one hop."""
        raise NotImplementedError

    async def shutdown(self, uid: str) -> None:
        """Ask the guest to power off, by its agent if connected, else by ACPI. Nothing to do when it is off."""

    async def reset(self, uid: str) -> None:
        """Press the reset button: QEMU stays."""

    async def destroy(self, uid: str) -> None:
        """End QEMU at once. Nothing to do when it is off."""

    async def undefine(self, uid: str) -> None:
        """Remove the definition with NVRAM, saved state and snapshot metadata. Nothing to do when it is gone."""

    async def resume(self, uid: str) -> None:
        """Let a paused guest go on."""

    async def io_errors(self, uid: str) -> dict[str, IoError]:
        """Disk target → error of a guest that I/O errors paused."""
        raise NotImplementedError

    async def block_resize(self, uid: str, target: str, size_bytes: int) -> None:
        """Grow a running guest's disk. Raises Conflict rather than shrink it."""

    async def set_metadata(self, spec: DomainSpec) -> None:
        """Rewrite our metadata element, of the running domain and of the definition."""

    async def open_graphics_fd(self, uid: str) -> int:
        """A connected VNC socket of the guest; the caller owns and closes the descriptor."""
        raise NotImplementedError

    async def guest_agent_info(self, uid: str, *, timeout: float = 5.0) -> GuestInfo:
        """What the guest's agent tells of its system."""
        raise NotImplementedError

    async def stats(self, uids: Collection[str] | None = None) -> dict[str, DomainStats]:
        """One sample of all running domains, or of ``uids``, in one call."""
        raise NotImplementedError
