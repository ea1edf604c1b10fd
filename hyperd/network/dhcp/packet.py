"""DHCP on the wire: what a guest asks, and the frame that answers it.

Pure, and fed by hostile guests: ``parse`` never raises, whatever the bytes. Only DISCOVER, REQUEST and INFORM
with the VM's own MAC are answered, always with the VM's one address and an infinite lease.

The address is a ``/32``: a guest reaches its gateway, and all else through it, by the classless routes of option
121, which Windows calls 249 as well. A guest that names what it wants to be told, and neither of these among it,
would be left without a route; it is told its network's mask, and the tap answers for its neighbours.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network

_ETHERNET_BYTES = 14
_IPV4 = 0x0800
_UDP = 17
_SERVER_PORT, _CLIENT_PORT = 67, 68
_BOOTP = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
_COOKIE = b"\x63\x82\x53\x63"
_BROADCAST_FLAG = 0x8000
_BROADCAST_MAC = b"\xff" * 6
_BROADCAST = IPv4Address("255.255.255.255")
_ANY = IPv4Address(0)
_MINIMUM_BYTES = 300
"""BOOTP's size; some clients drop what is shorter."""
_INFINITE = b"\xff" * 4


class Message(IntEnum):
    """Values of option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    ACK = 5
    NAK = 6
    INFORM = 8


class Option(IntEnum):
    """The options that are read or sent."""

    PAD = 0
    MASK = 1
    ROUTER = 3
    DNS = 6
    HOSTNAME = 12
    MTU = 26
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    MESSAGE = 53
    SERVER = 54
    WANTED = 55
    CLIENT_ID = 61
    CLASSLESS_ROUTES = 121
    CLASSLESS_ROUTES_OF_WINDOWS = 249
    END = 255


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


@dataclass(frozen=True)
class Request:
    """A guest's message. Addresses are 0.0.0.0, ``client_id`` and ``wanted`` empty, where the guest sent none."""

    message: int
    transaction: int
    broadcast: bool
    mac: bytes
    client_address: IPv4Address
    relay: IPv4Address
    requested: IPv4Address
    server: IPv4Address
    client_id: bytes
    wanted: bytes = b""
    """Codes of the options that the guest would like to be told."""


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def parse(frame: bytes) -> Request | None:
    """The DHCP message in an Ethernet frame, or None when there is none that makes sense."""
    payload = _datagram(frame)
    if payload is None or len(payload) < _BOOTP.size + len(_COOKIE):
        return None
    operation, hardware, length, _, transaction, _, flags, client, _, _, relay, address, _, _ = _BOOTP.unpack_from(
        payload
    )
    if (operation, hardware, length) != (1, 1, 6) or payload[_BOOTP.size :][:4] != _COOKIE:
        return None
    options = _options(payload[_BOOTP.size + len(_COOKIE) :])
    message = options.get(Option.MESSAGE, b"")
    if len(message) != 1:
        return None
    return Request(
        message=message[0],
        transaction=transaction,
        broadcast=bool(flags & _BROADCAST_FLAG),
        mac=address[:6],
        client_address=IPv4Address(client),
        relay=IPv4Address(relay),
        requested=_address(options.get(Option.REQUESTED_ADDRESS)),
        server=_address(options.get(Option.SERVER)),
        client_id=options.get(Option.CLIENT_ID, b""),
        wanted=options.get(Option.WANTED, b""),
    )


def _datagram(frame: bytes) -> bytes | None:
    """What an unfragmented UDP datagram to the server's port carries."""
    if len(frame) < _ETHERNET_BYTES + 20 or frame[12:14] != _IPV4.to_bytes(2, "big"):
        return None
    packet = frame[_ETHERNET_BYTES:]
    header = (packet[0] & 0x0F) * 4
    total, fragment = struct.unpack_from("!H2xH", packet, 2)
    if packet[0] >> 4 != 4 or header < 20 or packet[9] != _UDP or fragment & 0x3FFF:
        return None
    if total > len(packet) or total < header + 8:
        return None
    _, port, length = struct.unpack_from("!HHH", packet, header)
    if port != _SERVER_PORT or length < 8 or header + length > total:
        return None
    return packet[header + 8 : header + length]


def _options(data: bytes) -> dict[int, bytes]:
    """Options by code, the first of each; reading ends at the first that is cut off."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != Option.END:
        if data[at] == Option.PAD:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            break
        found.setdefault(data[at], data[at + 2 : at + 2 + data[at + 1]])
        at += 2 + data[at + 1]
    return found


def _address(data: bytes | None) -> IPv4Address:
    return IPv4Address(data) if data and len(data) == 4 else _ANY


def answer(request: Request, lease: Lease) -> bytes | None:
    """The frame that answers ``request``, or None when it is not for us or needs no answer."""
    if request.mac != mac_bytes(lease.mac) or request.relay != _ANY:
        return None
    if request.message == Message.DISCOVER:
        return _reply(request, lease, Message.OFFER)
    if request.message == Message.INFORM:
        return _reply(request, lease, Message.ACK)
    if request.message != Message.REQUEST or request.server not in (_ANY, lease.gateway):
        return None
    wanted = request.requested if request.requested != _ANY else request.client_address
    return _reply(request, lease, Message.ACK if wanted == lease.address else Message.NAK)


def _reply(request: Request, lease: Lease, message: Message) -> bytes:
    informed = request.message == Message.INFORM
    given = _ANY if informed or message == Message.NAK else lease.address
    known = request.client_address if message == Message.ACK else _ANY
    bootp = _BOOTP.pack(
        *(2, 1, 6, 0, request.transaction, 0),
        _BROADCAST_FLAG if request.broadcast else 0,
        *(known.packed, given.packed, lease.gateway.packed if given != _ANY else _ANY.packed, _ANY.packed),
        *(request.mac, b"", b""),
    )
    options = _option(Option.MESSAGE, bytes((message,))) + _option(Option.SERVER, lease.gateway.packed)
    if message != Message.NAK:
        options += _configuration(lease, classless=_takes_classless_routes(request))
        if not informed:
            options += _option(Option.LEASE_TIME, _INFINITE)
    if request.client_id:
        options += _option(Option.CLIENT_ID, request.client_id)  # RFC 6842
    payload = (bootp + _COOKIE + options + bytes((Option.END,))).ljust(_MINIMUM_BYTES, b"\0")
    if message == Message.NAK or (request.broadcast and known == _ANY):
        return _frame(payload, lease, target=_BROADCAST, mac=_BROADCAST_MAC)
    return _frame(payload, lease, target=known if known != _ANY else lease.address, mac=request.mac)


def _takes_classless_routes(request: Request) -> bool:
    asked = {Option.CLASSLESS_ROUTES, Option.CLASSLESS_ROUTES_OF_WINDOWS} & set(request.wanted)
    return bool(asked) or not request.wanted


def _configuration(lease: Lease, *, classless: bool) -> bytes:
    mask = _BROADCAST if classless else lease.network.netmask
    routes = _classless_routes(lease.gateway)
    options = (
        _option(Option.MASK, mask.packed)
        + _option(Option.ROUTER, lease.gateway.packed)
        + _option(Option.CLASSLESS_ROUTES, routes)
        + _option(Option.CLASSLESS_ROUTES_OF_WINDOWS, routes)
    )
    if lease.dns:
        options += _option(Option.DNS, b"".join(server.packed for server in lease.dns[:8]))
    hostname = lease.hostname.encode("ascii", "ignore")[:63]
    if hostname:
        options += _option(Option.HOSTNAME, hostname)
    return options + _option(Option.MTU, lease.mtu.to_bytes(2, "big"))


def _classless_routes(gateway: IPv4Address) -> bytes:
    """RFC 3442: the gateway on the link, everything else through it."""
    return b"\x20" + gateway.packed + _ANY.packed + b"\0" + gateway.packed


def _option(code: Option, data: bytes) -> bytes:
    return bytes((code, len(data))) + data


def _frame(payload: bytes, lease: Lease, *, target: IPv4Address, mac: bytes) -> bytes:
    udp = struct.pack("!HHHH", _SERVER_PORT, _CLIENT_PORT, 8 + len(payload), 0)  # 0: no checksum
    length = 20 + len(udp) + len(payload)
    fields = (0x45, 0, length, 0, 0, 64, _UDP, 0, lease.gateway.packed, target.packed)
    header = struct.pack("!BBHHHBBH4s4s", *fields)
    header = header[:10] + _checksum(header).to_bytes(2, "big") + header[12:]
    return mac + mac_bytes(lease.server_mac) + _IPV4.to_bytes(2, "big") + header + udp + payload


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
