"""A netlink socket with hand-packed messages.

Libraries spend 20 to 50 times the kernel's time on encoding; a tap is wired while its VM waits to start, so the
few messages needed are packed here. Blocking, one socket a job, for use in worker threads only.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_SOL_NETLINK = 270
_EXT_ACK = 11
_GET_STRICT_CHK = 12

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_ERROR, _TYPE_DONE = 2, 3

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
_DUMP_INTERRUPTED = 0x10
_ATTEMPTS = 5
_TIMEOUT_SECONDS = 10.0
_BUFFER_BYTES = 1 << 17


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def attributes(payload: bytes, offset: int) -> dict[int, bytes]:
    """The attributes of ``payload`` from ``offset`` on, by kind; the flags in a kind's high bits are dropped."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


class _Interrupted(Exception):
    """What a dump walked over changed meanwhile, so it may lack entries."""


class Netlink:
    """A route netlink socket in the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._sequence = 0
        try:
            self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
            # Without it the kernel ignores a dump's filter and sends everything there is.
            self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
            self._socket.settimeout(_TIMEOUT_SECONDS)
            self._socket.bind((0, 0))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def request(self, type_: int, body: bytes, *, flags: int = 0) -> None:
        """Change something and wait until it is done. Raises OSError with the kernel's errno."""
        self._send(type_, body, REQUEST | ACK | flags)
        for _ in self._replies():
            pass

    def get(self, type_: int, body: bytes) -> bytes:
        """The payload of the one object asked for. Raises OSError with the kernel's errno."""
        self._send(type_, body, REQUEST | ACK)
        payloads = list(self._replies())
        if not payloads:
            raise OSError(errno.EPROTO, "netlink answered without an object")
        return payloads[0]

    def dump(self, type_: int, body: bytes) -> list[bytes]:
        """The payloads of all objects that match ``body``; consistent, or OSError EAGAIN after some attempts."""
        for _ in range(_ATTEMPTS):
            self._send(type_, body, REQUEST | DUMP)
            try:
                return list(self._replies())
            except _Interrupted:
                continue
        raise OSError(errno.EAGAIN, "the kernel's tables change too fast to be listed")

    def _send(self, type_: int, body: bytes, flags: int) -> None:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), type_, flags, self._sequence, 0)
        self._socket.sendall(header + body)

    def _replies(self) -> Iterator[bytes]:
        """Payloads until the answer's end; what an earlier, given-up request left behind is skipped."""
        interrupted = False
        while True:
            data = self._socket.recv(_BUFFER_BYTES)
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, type_, flags, sequence, _ = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size:
                    raise OSError(errno.EPROTO, "netlink sent a message without a length")
                payload = data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & _DUMP_INTERRUPTED)
                if type_ in (_TYPE_ERROR, _TYPE_DONE):
                    _raise_for(payload)
                    if interrupted:
                        raise _Interrupted
                    return
                yield payload


def _raise_for(payload: bytes) -> None:
    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
    if code:
        raise OSError(code, os.strerror(code))
