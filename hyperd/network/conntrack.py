"""Connections as the kernel knows them where the calling thread is. Blocking.

Only those are told that both ends have spoken on, under the addresses that both ends know: what was translated
ends with the Pod whose address that was.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from itertools import islice
from typing import Final

from pyroute2 import NetlinkError
from pyroute2.netlink import nla
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from hyperd.network.connections import MOST, TCP, UDP, Connection

_SEEN_REPLY, _ASSURED, _CONFIRMED = 1 << 1, 1 << 2, 1 << 3
_ESTABLISHED = 3
_LIBERAL = (8, 8)
"""Flags and mask of TCP: nobody here knows how far both ends have counted."""
_SECONDS: Final = {TCP: 600, UDP: 120}


def _of(address: IPv4Address, table: NFCTSocket) -> Iterator[Connection]:
    for entry in table.dump():
        begun, answered = entry.get_attr("CTA_TUPLE_ORIG"), entry.get_attr("CTA_TUPLE_REPLY")
        if not entry.get_attr("CTA_STATUS") & _SEEN_REPLY or _ends(begun) != tuple(reversed(_ends(answered))):
            continue
        protocol, ((source, source_port), (target, target_port)) = _protocol(begun), _ends(begun)
        if protocol == UDP or (protocol == TCP and _tcp_state(entry) == _ESTABLISHED):
            found = Connection(protocol, IPv4Address(source), source_port, IPv4Address(target), target_port)
            if address in (found.source, found.target):
                yield found


def _ends(tuple_: nla) -> tuple[tuple[str, int], tuple[str, int]]:
    ip, proto = tuple_.get_attr("CTA_TUPLE_IP"), tuple_.get_attr("CTA_TUPLE_PROTO")
    return (
        (ip.get_attr("CTA_IP_V4_SRC"), proto.get_attr("CTA_PROTO_SRC_PORT")),
        (ip.get_attr("CTA_IP_V4_DST"), proto.get_attr("CTA_PROTO_DST_PORT")),
    )


def _protocol(tuple_: nla) -> int:
    found: int = tuple_.get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_NUM")
    return found


def _tcp_state(entry: nla) -> int:
    info = entry.get_attr("CTA_PROTOINFO")
    tcp = None if info is None else info.get_attr("CTA_PROTOINFO_TCP")
    return 0 if tcp is None else int(tcp.get_attr("CTA_PROTOINFO_TCP_STATE"))


@contextmanager
def _opened() -> Iterator[NFCTSocket]:
    """What the kernel refuses leaves the block as OSError."""
    table = NFCTSocket()
    try:
        yield table
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error
    finally:
        table.close()


def known(address: IPv4Address) -> list[Connection]:
    """Those of ``address``, up to ``MOST``. Raises OSError."""
    with _opened() as table:
        return list(islice(_of(address, table), MOST))


def learn(connections: Sequence[Connection]) -> None:
    """Have these be known here; what is known stays as it is. Raises OSError."""
    with _opened() as table:
        for one in connections:
            begun = NFCTAttrTuple(
                saddr=str(one.source), daddr=str(one.target), proto=one.protocol,
                sport=one.source_port, dport=one.target_port,
            )  # fmt: skip
            more = {}
            if one.protocol == TCP:
                flags = [
                    ["CTA_PROTOINFO_TCP_FLAGS_ORIGINAL", {"value": _LIBERAL}],
                    ["CTA_PROTOINFO_TCP_FLAGS_REPLY", {"value": _LIBERAL}],
                ]
                state = [["CTA_PROTOINFO_TCP_STATE", _ESTABLISHED], *flags]
                more["protoinfo"] = {"attrs": [["CTA_PROTOINFO_TCP", {"attrs": state}]]}
            try:
                table.entry(
                    "add",
                    timeout=_SECONDS[one.protocol],
                    status=_SEEN_REPLY | _ASSURED | _CONFIRMED,
                    tuple_orig=begun,
                    tuple_reply=begun.reverse(),
                    **more,
                )
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise
