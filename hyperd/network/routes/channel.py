"""The kernel's ends of route netlink: one socket that asks and changes, and one that hears. Blocking.

Both belong to the network namespace of the thread that opened them. What is changed by the one is not heard by
the other.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from ctypes import addressof, create_string_buffer
from types import TracebackType
from typing import Final, Self

from hyperd.network.routes import messages
from hyperd.network.routes.messages import Hop, Kind, Message, Route

_GROUPS = 0x01 | 0x40 | 0x80
"""Links, IPv4 routes, IPv4 rules."""
_NETLINK, _STRICT = 270, 12
_BUFFER_FORCED, _FILTER = 33, 26
_HEARD_BYTES, _SENT_BYTES = 4 << 20, 1 << 20
_READ_BYTES = 1 << 18
_BATCH: Final = 256
"""Changes that are sent at once; only the last of them is acknowledged where all go well."""
_DUMP_ATTEMPTS = 5
_ANSWER_SECONDS = 30.0


class Channel:
    """Methods raise OSError."""

    def __init__(self) -> None:
        self._asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self.hearing = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
        )
        """Readable when something was changed."""
        self._sequence = 0
        try:
            self._asking.setsockopt(_NETLINK, _STRICT, 1)  # else the kernel ignores a dump's filter
            self._asking.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_BYTES)
            self._asking.settimeout(_ANSWER_SECONDS)
            self._asking.bind((0, 0))
            self.hearing.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCED, _HEARD_BYTES)
            _do_not_hear(self.hearing, self._asking.getsockname()[0])
            self.hearing.bind((0, _GROUPS))
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._close()

    def heard(self) -> list[Message] | None:
        """What was changed since; None where that was too much to be kept, and must be looked for."""
        found: list[Message] = []
        while True:
            try:
                found += messages.read(self.hearing.recv(_READ_BYTES))
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._drain()
                return None

    def way(self, address: bytes) -> Hop | None:
        """How this host reaches ``address``; None where it does not, or is that itself."""
        self._sequence += 1
        self._asking.send(messages.ask_way(address, self._sequence))
        for message in self._answers(self._sequence):
            found = messages.route(message.body) if message.kind == Kind.NEW_ROUTE else None
            if found is not None and found.device and found.type != messages.LOCAL:
                return Hop(found.gateway or address, found.device)
            return None
        return None

    def routes(self, table: int, protocol: int) -> list[Route]:
        """All routes of ``table`` and ``protocol``; consistent."""
        for _ in range(_DUMP_ATTEMPTS):
            self._sequence += 1
            self._asking.send(messages.ask_all(table, protocol, self._sequence))
            found: list[Route] = []
            whole = True
            for message in self._answers(self._sequence):
                whole = whole and not message.flags & messages.INTERRUPTED
                if message.kind == Kind.NEW_ROUTE:
                    if (route := messages.route(message.body)) is not None:
                        found.append(route)
                elif message.error not in (0, errno.ENOENT):  # a table is made by its first route
                    raise OSError(message.error, os.strerror(message.error))
                else:
                    break
            # The kernel does not look at protocols where there is no such table yet.
            if whole:
                return [one for one in found if (one.table, one.protocol) == (table, protocol)]
        raise OSError(errno.EAGAIN, "the kernel's tables change too fast to be listed")

    def change(
        self,
        kind: Kind,
        changes: Sequence[tuple[bytes, Hop | None]],
        *,
        table: int,
        protocol: int,
        priority: int,
    ) -> list[tuple[bytes, int]]:
        """Make all ``changes``; those that failed, with their errno."""
        failed: list[tuple[bytes, int]] = []
        for start in range(0, len(changes), _BATCH):
            batch = changes[start : start + _BATCH]
            first = self._sequence + 1
            self._sequence = last = self._sequence + len(batch)
            self._asking.send(
                b"".join(
                    messages.change(
                        kind,
                        destination,
                        hop,
                        table=table,
                        protocol=protocol,
                        priority=priority,
                        sequence=sequence,
                        acknowledge=sequence == last,
                    )
                    for sequence, (destination, hop) in enumerate(batch, first)
                )
            )
            for message in self._answers(*range(first, last + 1)):
                if message.error:
                    failed.append((batch[message.sequence - first][0], message.error))
                if message.sequence == last:
                    break
        return failed

    def _answers(self, *sequences: int) -> Iterable[Message]:
        """The kernel's messages to what was sent by these numbers; those to earlier ones are passed over."""
        wanted = range(sequences[0], sequences[-1] + 1)
        while True:
            for message in messages.read(self._asking.recv(_READ_BYTES)):
                if message.sequence in wanted:
                    yield message

    def _drain(self) -> None:
        while True:
            try:
                self.hearing.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _close(self) -> None:
        self._asking.close()
        self.hearing.close()


def _do_not_hear(hearing: socket.socket, port: int) -> None:
    """Have the kernel drop what tells of changes by ``port``: ten thousand of one's own would fill any buffer."""
    # A packet filter reads words in network order, and the header is in the host's.
    number = int.from_bytes(struct.pack("=I", port), "big")
    program = struct.pack("=HBBI", 0x20, 0, 0, 12)  # the port
    program += struct.pack("=HBBI", 0x15, 0, 1, number)
    program += struct.pack("=HBBI", 0x06, 0, 0, 0)  # drop
    program += struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)
    kept = create_string_buffer(program, len(program))
    hearing.setsockopt(socket.SOL_SOCKET, _FILTER, struct.pack("@HP", 4, addressof(kept)))
