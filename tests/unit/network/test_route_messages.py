"""Route netlink by hand: what is packed reads as pyroute2 reads it, and no length in it is believed."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl import rtmsg

from hyperd.network.routes import messages
from hyperd.network.routes.messages import Hop, Kind

MACHINE, NODE = socket.inet_aton("10.66.10.2"), socket.inet_aton("192.168.126.12")
HOP = Hop(NODE, 7)


def packed(kind: Kind, hop: Hop | None) -> bytes:
    return messages.change(kind, MACHINE, hop, table=1490, protocol=150, priority=50, sequence=9, acknowledge=True)


def test_a_route_says_what_another_program_reads() -> None:
    data = packed(Kind.NEW_ROUTE, HOP)
    read = rtmsg.rtmsg(data)
    read.decode()
    assert (read["header"]["type"], read["header"]["sequence_number"]) == (24, 9)
    assert (read["dst_len"], read["proto"], read["type"], read["scope"]) == (32, 150, 1, 0)
    assert {name: read.get_attr(name) for name in ("RTA_DST", "RTA_GATEWAY", "RTA_OIF", "RTA_TABLE")} == {
        "RTA_DST": "10.66.10.2",
        "RTA_GATEWAY": "192.168.126.12",
        "RTA_OIF": 7,
        "RTA_TABLE": 1490,
    }
    assert read.get_attr("RTA_PRIORITY") == 50


def test_what_is_packed_is_read_again() -> None:
    both = packed(Kind.NEW_ROUTE, HOP) + packed(Kind.DELETE_ROUTE, None)
    made, deleted = messages.read(both)
    assert messages.route(made.body) == (MACHINE, 32, 1490, 150, 1, 50, NODE, 7)
    assert messages.route(deleted.body) == (MACHINE, 32, 1490, 150, 0, 50, b"", 0)
    assert (made.kind, deleted.kind) == (Kind.NEW_ROUTE, Kind.DELETE_ROUTE)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_their_end(data: bytes) -> None:
    for message in messages.read(data):
        messages.route(message.body)
        messages.device_of(message.body)


@given(st.data())
def test_a_route_that_is_cut_or_spoilt_is_no_defect(data: st.DataObject) -> None:
    spoilt = bytearray(packed(Kind.NEW_ROUTE, HOP))
    spoilt[data.draw(st.integers(4, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    for message in messages.read(bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))])):
        messages.route(message.body)
