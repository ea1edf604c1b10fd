"""Where images may be fetched from: the guard against requests that the daemon would make on a user's behalf.

A name is resolved once, every address it has is judged, and the connection goes to those addresses only, so an
answer that changes between check and connection is of no use. Loopback, link-local, metadata, this host's own and
its guests' addresses are refused unless ``imports.allowed`` names them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_METADATA = frozenset(map(ip_address, ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")))
"""Cloud metadata services outside the link-local ranges."""
_LOOK_UPS = ThreadPoolExecutor(8, thread_name_prefix="look-up")
"""Of their own: a name server that does not answer holds one for half a minute, and nobody's work on files."""
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressGuard:
    """Judges addresses. ``allowed`` are entries ``CIDR`` or ``CIDR:PORT`` of the settings."""

    def __init__(self, allowed: Sequence[str], guests: Sequence[IPv4Network] = ()) -> None:
        """In the networks ``guests`` virtual machines have their addresses: one tenant's may trust their host, and
        another tenant could have the host ask it."""
        self._allowed = [_parse(entry) for entry in allowed]
        self._guests = guests

    async def resolve(self, host: str, port: int) -> list[Address]:
        """All addresses of ``host``; PermanentError if any is forbidden, TemporaryError if there is none now."""
        try:
            answers = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, _look_up, host, port)
        except socket.gaierror as err:
            raise TemporaryError(f"The name {host} cannot be resolved: {err.strerror}.", key=FAILED) from err
        except UnicodeError as err:
            raise PermanentError(f"{host[:80]!r} is not a host name.", key=FAILED) from err
        addresses = [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
        for address in addresses:
            self.check(address, port)
        return addresses

    def check(self, address: Address, port: int) -> None:
        """PermanentError if nothing may be fetched from ``address``."""
        for spelled in _meanings(address):
            kind = _forbidden(spelled) or self._of_a_guest(spelled)
            if kind and not self._is_allowed(spelled, port):
                raise PermanentError(
                    f"Images are not fetched from {address}, {kind}; an administrator can allow it by adding "
                    f"{spelled}/{spelled.max_prefixlen}:{port} to the setting imports.allowed.",
                    key=FAILED,
                )

    def _of_a_guest(self, address: Address) -> str:
        guest = any(address.version == network.version and address in network for network in self._guests)
        return "an address for virtual machines (network.virtual_machine_cidrs)" if guest else ""

    def _is_allowed(self, address: Address, port: int) -> bool:
        return any(
            address.version == network.version and address in network and only_port in (None, port)
            for network, only_port in self._allowed
        )


class Pinned(AbstractResolver):
    """Answers every question with the addresses that were judged."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The judged addresses, whatever ``host`` is."""
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


def _look_up(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _parse(entry: str) -> tuple[Network, int | None]:
    try:
        return ip_network(entry), None
    except ValueError:
        network, _, port = entry.rpartition(":")
    try:
        return ip_network(network.strip("[]")), int(port)
    except ValueError:
        raise PermanentError(
            f"Setting imports.allowed: {entry!r} is neither a network (10.0.0.0/8) nor a network and a port "
            "(127.0.0.1/32:8080)."
        ) from None


def _meanings(address: Address) -> list[Address]:
    """What a packet to ``address`` reaches: itself, an IPv4 address written as IPv6, or both through a tunnel."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    tunnelled = [address.sixtofour, *(address.teredo or ())]
    return [address, *(inner for inner in tunnelled if inner is not None)]


def _forbidden(address: Address) -> str:
    """Why nothing may be fetched from it; empty if nothing speaks against it."""
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address, where metadata services are"
    if address in _METADATA:
        return "the address of a metadata service"
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return "not the address of a server"
    if _is_own(address):
        return "an address of this host"
    return ""


def _is_own(address: Address) -> bool:
    """Whether the host would talk to itself: only then is the source of a connection its destination."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
        return bool(ip_address(probe.getsockname()[0].partition("%")[0]) == address)
