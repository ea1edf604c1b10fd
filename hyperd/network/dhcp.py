"""DHCP, answered by the daemon itself on each VM's tap.

The lease is infinite, so that a guest outlives a stopped daemon. Only the VM's own MAC is answered, with its one
address; the daemon remembers nothing: ``serve`` is called again after a restart or when a tap was made anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True)
class Lease:
    """What one VM is told. ``server_mac`` is the gateway's fixed MAC; ``dns`` may be empty."""

    mac: str
    address: IPv4Address
    network: IPv4Network
    gateway: IPv4Address
    hostname: str
    mtu: int
    dns: tuple[IPv4Address, ...]
    server_mac: str


class DhcpServer:
    """One packet socket a tap, read on the event loop that calls ``serve``."""

    def serve(self, tap: str, lease: Lease) -> None:
        """Answer on ``tap`` with ``lease``. Idempotent; attaches anew when the tap is another device by now.

        Raises TemporaryError when the tap does not exist.
        """
        raise NotImplementedError

    def stop(self, tap: str) -> None:
        """Answer no longer. Nothing happens when ``tap`` was not served."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop all."""
        raise NotImplementedError
