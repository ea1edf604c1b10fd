"""The host's side of VM networks: one routed tap a VM, its gateway address, its host route.

Taps are found again by ``ifalias`` (``hyperd:<instance>:<uid>``), routes by the tap they leave through. All
methods are idempotent; the kernel is the only memory.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address

from hyperd.settings import NetworkSettings


@dataclass(frozen=True)
class TapSpec:
    """A tap as it must be. ``owner`` is the user id that may open it besides root; libvirtd opens it as root."""

    uid: str
    name: str
    address: IPv4Address
    gateway: IPv4Address
    mtu: int
    owner: int = 0


@dataclass(frozen=True)
class OwnedTap:
    """A tap of this instance, by its mark."""

    name: str
    uid: str


class HostNetwork:
    """Taps, routes and rules of one instance. Errors are TemporaryError with a sentence that names the device."""

    def __init__(self, settings: NetworkSettings, *, instance: str) -> None:
        self._settings = settings
        self._instance = instance

    async def start(self) -> None:
        """Make the rules and blackholes of the CIDRs, and NAT where it is asked for."""
        raise NotImplementedError

    async def ensure_tap(self, spec: TapSpec) -> None:
        """Make the tap, its gateway address and its host route as ``spec`` says; touch nothing that is right."""
        raise NotImplementedError

    async def remove_tap(self, name: str) -> None:
        """Remove a tap of this instance with all that hangs on it. Nothing happens when there is none."""
        raise NotImplementedError

    async def inventory(self) -> list[OwnedTap]:
        """All taps of this instance."""
        raise NotImplementedError

    async def sync(self, expected: Collection[TapSpec]) -> None:
        """Make the host hold exactly ``expected``: repair what drifted, remove this instance's other taps."""
        raise NotImplementedError

    async def remove_all(self) -> None:
        """Remove every trace of this instance: taps, routes, rules, NAT."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End with the daemon; taps and routes stay for the guests that run."""
        raise NotImplementedError
