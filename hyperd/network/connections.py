"""Connections of a guest, which it takes along where it moves: a filter lets pass what was begun before.

Where it comes to the kernel has not seen their beginning, and would judge whoever speaks first.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from hyperd.jsontypes import Json

TCP: Final = 6
UDP: Final = 17
MOST: Final = 1024
"""Connections of one guest that are told; a busier one's others may stand still."""


@dataclass(frozen=True, slots=True)
class Connection:
    """``protocol`` is TCP's number or UDP's; who began it comes first."""

    protocol: int
    source: IPv4Address
    source_port: int
    target: IPv4Address
    target_port: int

    def encode(self) -> Json:
        return [self.protocol, str(self.source), self.source_port, str(self.target), self.target_port]

    @classmethod
    def decode(cls, said: object) -> Connection:
        """Raises ValueError for what is none."""
        match said:
            case [int(protocol), str(source), int(source_port), str(target), int(target_port)]:
                if protocol not in (TCP, UDP) or not all(
                    0 < port < 1 << 16 for port in (source_port, target_port)
                ):
                    raise ValueError("no connection")
                try:
                    return cls(protocol, IPv4Address(source), source_port, IPv4Address(target), target_port)
                except AddressValueError as error:
                    raise ValueError("no address") from error
        raise ValueError("no connection")
