"""DHCP on the wire: right answers to right questions, silence to all else."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hyperd.network.dhcp.packet import Lease, Message, Option, Request, answer, mac_bytes, parse

MAC = "52:54:00:11:22:33"
LEASE = Lease(
    mac=MAC,
    address=IPv4Address("10.66.10.14"),
    network=IPv4Network("10.66.10.0/24"),
    gateway=IPv4Address("10.66.10.1"),
    hostname="web-1",
    mtu=1450,
    dns=(IPv4Address("192.0.2.53"), IPv4Address("192.0.2.54")),
    server_mac="02:a9:fe:00:00:01",
)
ANY = IPv4Address(0)
ROUTES = bytes([32, 10, 66, 10, 1, 0, 0, 0, 0, 0, 10, 66, 10, 1])
"""10.66.10.1/32 on the link, and 0.0.0.0/0 via 10.66.10.1."""


def frame(
    message: int = Message.DISCOVER,
    *,
    mac: str = MAC,
    client: IPv4Address = ANY,
    relay: IPv4Address = ANY,
    broadcast: bool = False,
    options: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """A guest's message, built here from the RFC's layout and not with the code under test."""
    payload = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0xCAFE, 0, 0x8000 if broadcast else 0)
    payload += client.packed + bytes(8) + relay.packed + mac_bytes(mac).ljust(16, b"\0") + bytes(192)
    payload += b"\x63\x82\x53\x63\x35\x01" + bytes((message,))
    payload += b"".join(bytes((code, len(data))) + data for code, data in options) + b"\xff"
    udp = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, client.packed, b"\xff" * 4)
    return b"\xff" * 6 + mac_bytes(mac) + b"\x08\x00" + header + udp


def reply(sent: bytes, lease: Lease = LEASE) -> bytes | None:
    request = parse(sent)
    assert request is not None
    return answer(request, lease)


def options_of(answered: bytes) -> dict[int, bytes]:
    data, found = answered[14 + 20 + 8 + 240 :], {}
    while data[0] != Option.END:
        found[data[0]] = data[2 : 2 + data[1]]
        data = data[2 + data[1] :]
    return found


def test_a_discover_is_offered_the_vms_address_for_ever() -> None:
    offer = reply(frame())
    assert offer is not None
    assert offer[:12] == mac_bytes(MAC) + mac_bytes(LEASE.server_mac)
    assert offer[30:34] == LEASE.address.packed
    assert offer[14 + 20 + 8 + 16 :][:4] == LEASE.address.packed
    told = options_of(offer)
    assert told == {
        Option.MESSAGE: bytes((Message.OFFER,)),
        Option.SERVER: LEASE.gateway.packed,
        Option.MASK: b"\xff\xff\xff\xff",
        Option.ROUTER: LEASE.gateway.packed,
        Option.CLASSLESS_ROUTES: ROUTES,
        Option.CLASSLESS_ROUTES_OF_WINDOWS: ROUTES,
        Option.DNS: b"\xc0\x00\x025\xc0\x00\x026",
        Option.HOSTNAME: b"web-1",
        Option.MTU: (1450).to_bytes(2, "big"),
        Option.LEASE_TIME: b"\xff\xff\xff\xff",
    }


def test_the_ip_header_checks_out_and_the_message_has_bootp_size() -> None:
    offer = reply(frame())
    assert offer is not None
    total = sum(struct.unpack("!10H", offer[14:34]))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert len(offer) >= 14 + 20 + 8 + 300


def test_a_request_for_the_own_address_is_acknowledged() -> None:
    chosen = ((Option.REQUESTED_ADDRESS, LEASE.address.packed), (Option.SERVER, LEASE.gateway.packed))
    ack = reply(frame(Message.REQUEST, options=chosen))
    assert ack is not None
    assert options_of(ack)[Option.MESSAGE] == bytes((Message.ACK,))


def test_a_renewal_is_acknowledged_to_the_address_in_use() -> None:
    ack = reply(frame(Message.REQUEST, client=LEASE.address, broadcast=True))
    assert ack is not None
    assert ack[:6] == mac_bytes(MAC)
    assert ack[30:34] == LEASE.address.packed


@pytest.mark.parametrize("sent", [{"client": IPv4Address("10.66.10.15")}, {"client": ANY}])
def test_a_request_for_another_address_is_refused_to_all(sent: dict[str, IPv4Address]) -> None:
    nak = reply(frame(Message.REQUEST, **sent))  # type: ignore[arg-type]
    assert nak is not None
    assert nak[:6] == b"\xff" * 6
    told = options_of(nak)
    assert told == {Option.MESSAGE: bytes((Message.NAK,)), Option.SERVER: LEASE.gateway.packed}


def test_a_request_to_another_server_is_none_of_ours() -> None:
    other = ((Option.REQUESTED_ADDRESS, LEASE.address.packed), (Option.SERVER, b"\x01\x01\x01\x01"))
    assert reply(frame(Message.REQUEST, options=other)) is None


def test_an_inform_gets_the_configuration_without_a_lease() -> None:
    ack = reply(frame(Message.INFORM, client=LEASE.address))
    assert ack is not None
    told = options_of(ack)
    assert told[Option.ROUTER] == LEASE.gateway.packed
    assert Option.LEASE_TIME not in told
    assert ack[14 + 20 + 8 + 16 :][:4] == ANY.packed


def test_a_client_that_cannot_hear_unicast_gets_broadcast() -> None:
    offer = reply(frame(broadcast=True))
    assert offer is not None
    assert offer[:6] == b"\xff" * 6
    assert offer[30:34] == b"\xff" * 4


def test_the_client_identifier_comes_back() -> None:
    offer = reply(frame(options=((Option.CLIENT_ID, b"\x01abc"),)))
    assert offer is not None
    assert options_of(offer)[Option.CLIENT_ID] == b"\x01abc"


@pytest.mark.parametrize("message", [2, 4, 5, 6, 7, 0, 255])
def test_decline_release_and_servers_messages_get_no_answer(message: int) -> None:
    assert reply(frame(message)) is None


def test_other_machines_and_relays_get_no_answer() -> None:
    assert reply(frame(mac="52:54:00:00:00:00")) is None
    assert reply(frame(relay=IPv4Address("10.66.10.9"))) is None


def test_without_dns_servers_none_are_named() -> None:
    offer = reply(frame(), replace(LEASE, dns=()))
    assert offer is not None
    assert Option.DNS not in options_of(offer)


@given(st.binary(max_size=700))
@example(b"")
def test_hostile_bytes_never_raise(data: bytes) -> None:
    parse(data)


@given(st.data())
def test_a_mangled_request_never_raises_and_its_answer_is_a_whole_frame(data: st.DataObject) -> None:
    sent = bytearray(frame(Message.REQUEST, client=LEASE.address, options=((Option.CLIENT_ID, b"x" * 40),)))
    for _ in range(data.draw(st.integers(1, 8))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    request = parse(bytes(sent[: data.draw(st.integers(0, len(sent)))]))
    answered = answer(request, LEASE) if request else None
    assert answered is None or len(answered) == 14 + struct.unpack_from("!H", answered, 16)[0]


@given(
    st.builds(
        Request,
        message=st.sampled_from(Message),
        transaction=st.integers(0, 0xFFFFFFFF),
        broadcast=st.booleans(),
        mac=st.just(mac_bytes(MAC)),
        client_address=st.ip_addresses(v=4),
        relay=st.just(ANY),
        requested=st.ip_addresses(v=4),
        server=st.sampled_from([ANY, LEASE.gateway]),
        client_id=st.binary(max_size=255),
    ),
    st.builds(replace, st.just(LEASE), hostname=st.text(max_size=300), mtu=st.integers(68, 65535)),
)
def test_no_answer_leases_any_address_but_the_vms(request_: Request, lease: Lease) -> None:
    answered = answer(request_, lease)
    if answered:
        assert answered[14 + 20 + 8 + 16 :][:4] in (ANY.packed, LEASE.address.packed)


@given(st.binary(min_size=0, max_size=64))
def test_options_cut_anywhere_are_read_up_to_the_cut(tail: bytes) -> None:
    whole = frame(options=((Option.REQUESTED_ADDRESS, LEASE.address.packed),))[:-1] + tail
    grown = bytearray(whole)
    struct.pack_into("!H", grown, 16, len(whole) - 14)
    struct.pack_into("!H", grown, 38, len(whole) - 34)
    request = parse(bytes(grown))
    assert request is not None
    assert request.requested == LEASE.address


CLIENTS = {
    "systemd-networkd": (bytes([1, 3, 6, 12, 15, 26, 28, 42, 119, 120, 121, 249]), 32),
    "NetworkManager": (bytes([1, 2, 6, 12, 15, 26, 28, 121, 3, 33, 40, 41, 42, 119, 249, 252, 17]), 32),
    "dhcpcd": (bytes([1, 121, 33, 3, 6, 15, 26, 28, 51, 54, 58, 59, 119]), 32),
    "ISC dhclient as Debian configures it": (bytes([1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42]), 32),
    "ISC dhclient without the option": (bytes([1, 28, 2, 3, 15, 6, 12]), 24),
    "Windows": (bytes([1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252]), 32),
    "Windows XP": (bytes([1, 15, 3, 6, 44, 46, 47, 31, 33, 249, 43]), 32),
    "busybox": (bytes([1, 3, 6, 12, 15, 28, 42]), 24),
    "busybox -O staticroutes": (bytes([1, 3, 6, 12, 15, 28, 42, 121]), 32),
    "iPXE": (bytes([1, 3, 6, 7, 12, 15, 17, 43, 60, 66, 67, 119, 128]), 24),
    "nothing asked for": (b"", 32),
}
"""What clients ask for, and the prefix that their address then has."""


@pytest.mark.parametrize("message", [Message.DISCOVER, Message.REQUEST, Message.INFORM])
@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_gets_a_mask_with_which_it_finds_its_route(client: str, message: Message) -> None:
    wanted, prefix = CLIENTS[client]
    options = [(Option.REQUESTED_ADDRESS, LEASE.address.packed)] if message is Message.REQUEST else []
    if wanted:
        options.append((Option.WANTED, wanted))
    address = LEASE.address if message is Message.INFORM else ANY
    answered = reply(frame(message, client=address, options=tuple(options)))
    assert answered is not None
    told = options_of(answered)
    assert told[Option.MASK] == ((0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF).to_bytes(4, "big")
    assert told[Option.ROUTER] == LEASE.gateway.packed
    assert told[Option.CLASSLESS_ROUTES] == told[Option.CLASSLESS_ROUTES_OF_WINDOWS] == ROUTES


def test_the_longest_answer_is_one_that_every_client_must_take() -> None:
    """RFC 2131: a client accepts 576 bytes of IP datagram."""
    dns = tuple(IPv4Address(f"192.0.2.{last}") for last in range(20))
    options = ((Option.CLIENT_ID, b"c" * 19), (Option.WANTED, bytes(range(1, 250))))
    answered = reply(frame(options=options), replace(LEASE, hostname="h" * 63, dns=dns))
    assert answered is not None
    assert len(answered) - 14 <= 576
