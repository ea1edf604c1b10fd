"""Port forwarding: a WebSocket for each TCP connection, or each peer over UDP, into a machine.

The wire is that of the other sessions, but nobody displaces anybody, and the end of a stream is said with 1000.
The address is the machine's own: one that is leased to its namespace, whatever its status may say.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from aiohttp import WSCloseCode, web

from hyperd.api.sessions.stream import ENDED, Goodbye, Stream, close, prepare_socket, splice
from hyperd.api.sessions.target import number, require_here, require_running, title
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.errors import BadRequest, ServiceUnavailable
from hyperd.hypervisor.console.stream import SocketStream
from hyperd.network.addresses import contains
from hyperd.resources.all import VIRTUAL_MACHINE, VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.kinds.virtual_machine_ip_address_lease import lease_name
from hyperd.resources.schema.kind import AnyObject
from hyperd.store.interface import Store, User

log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 10.0
_HIGHEST_PORT: Final = 65535
_WAITING_DATAGRAMS: Final = 256
_FINISHED: Final = Goodbye(WSCloseCode.OK, "")
_PROTOCOLS: Final = ("tcp", "udp")


class PortForwards:
    """The handler of ``virtualmachines/portforward``: ``?port=22&protocol=tcp``."""

    def __init__(self, store: Store, *, networks: Sequence[IPv4Network], node_name: str = "") -> None:
        """``networks`` are those of machines; ``node_name`` is this node's where there are others."""
        self._store = store
        self._networks = networks
        self._node_name = node_name

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {("virtualmachines", "portforward"): self._serve}

    async def _serve(self, request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
        vm = (await self._store.get(VIRTUAL_MACHINE, namespace, name)).object()
        port, protocol = _wanted(request)
        require_running(vm)
        require_here(vm, self._node_name)
        address = await self._address(vm)
        socket = prepare_socket(request)
        stream = await _connect(vm, address, port, protocol)
        try:
            await socket.prepare(request)
            log.info("%s port %d of %s opened by %s", protocol, port, title(vm), user.name)
            goodbye = await splice(socket, stream)
            await close(socket, _FINISHED if goodbye is ENDED else goodbye)
        finally:
            stream.close()
        return socket

    async def _address(self, vm: AnyObject) -> IPv4Address:
        """The machine's address. Raises BadRequest without one."""
        text = vm.get("status", {}).get("ipAddress") or ""
        try:
            address = IPv4Address(text)
        except ValueError:
            raise BadRequest(f"VirtualMachine {title(vm)} has no address yet") from None
        lease = await self._store.find(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "", lease_name(address))
        holder = None if lease is None else lease["spec"].get("virtualMachineIPAddressRef")
        namespace = None if holder is None else holder["namespace"]
        if not contains(self._networks, address) or namespace != vm["metadata"]["namespace"]:
            raise BadRequest(f"The address {address} of VirtualMachine {title(vm)} is not leased to its namespace")
        return address


def _wanted(request: web.BaseRequest) -> tuple[int, str]:
    port = number(request, "port", default=0)
    if not 0 < port <= _HIGHEST_PORT:
        raise BadRequest(f"port must be a number from 1 to {_HIGHEST_PORT}")
    protocol = request.query.get("protocol", "").lower() or _PROTOCOLS[0]
    if protocol not in _PROTOCOLS:
        raise BadRequest(f"protocol={protocol[:40]!r} is neither tcp nor udp")
    return port, protocol


async def _connect(vm: AnyObject, address: IPv4Address, port: int, protocol: str) -> Stream:
    """Raises ServiceUnavailable where nobody answers."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            if protocol == "udp":
                return await Datagrams.open(address, port)
            return SocketStream(*await asyncio.open_connection(str(address), port))
    except (OSError, TimeoutError) as error:
        # Of asyncio's own text nobody needs the address.
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no answer"
        raise ServiceUnavailable(f"Port {port} of VirtualMachine {title(vm)} cannot be reached: {why}") from error


class _Inbox(asyncio.DatagramProtocol):
    """Datagrams that came; those that nobody takes in time are lost."""

    def __init__(self) -> None:
        self.came = asyncio.Queue[bytes](_WAITING_DATAGRAMS)

    def datagram_received(self, data: bytes, addr: object) -> None:
        # An empty message would be the end of the stream.
        if data and not self.came.full():
            self.came.put_nowait(data)


class Datagrams:
    """Datagrams to and from one port of a guest, a message each."""

    def __init__(self, transport: asyncio.DatagramTransport, inbox: _Inbox) -> None:
        self._transport = transport
        self._inbox = inbox

    @classmethod
    async def open(cls, address: IPv4Address, port: int) -> Datagrams:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        return cls(*await loop.create_datagram_endpoint(_Inbox, remote_addr=(str(address), port)))

    async def read(self) -> bytes:
        """The next datagram."""
        return await self._inbox.came.get()

    async def write(self, data: bytes) -> None:
        """Send one datagram; it may be lost, as datagrams are."""
        self._transport.sendto(data)

    def close(self) -> None:
        self._transport.close()
