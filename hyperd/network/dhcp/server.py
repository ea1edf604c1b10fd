"""DHCP, answered by the daemon itself on each VM's tap.

The lease is infinite, so that a guest outlives a stopped daemon. Only the VM's own MAC is answered, with its
one address; the daemon remembers nothing: ``serve`` is called again after a restart or when a tap was made anew.

A guest that floods costs little: the kernel passes on only its DHCP frames, a wake-up reads a few, and beyond
the rate the socket is left unread for a while.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from hyperd.bucket import TokenBucket
from hyperd.clock import elapsed
from hyperd.errors import TemporaryError
from hyperd.network.dhcp.packet import Lease, answer, mac_bytes, parse
from hyperd.network.place import THIS_HOST, Place

__all__ = ["DhcpServer", "Lease"]

log = logging.getLogger(__name__)

_ETH_P_IP = 0x0800
_SO_ATTACH_FILTER = 26
_BUFFER_BYTES = 64 << 10
_FRAME_BYTES = 2048
_FRAMES_PER_WAKE = 8
_BURST = 20.0
_PER_SECOND = 5.0
_PAUSE_SECONDS = 1.0

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _LOAD_HALF_INDEXED, _LOAD_IP_HEADER = 0x20, 0x28, 0x30, 0x48, 0xB1
_EQUAL, _ANY_BIT, _RETURN = 0x15, 0x45, 0x06


def _filter(mac: bytes) -> list[bytes]:
    """Classic BPF: unfragmented UDP to port 67 from ``mac``, and nothing else."""
    high, low = struct.unpack("!IH", mac)
    steps = (
        (_LOAD_WORD, 6), (_EQUAL, high), (_LOAD_HALF, 10), (_EQUAL, low),
        (_LOAD_HALF, 12), (_EQUAL, 0x0800), (_LOAD_BYTE, 23), (_EQUAL, 17),
        (_LOAD_HALF, 20), (_ANY_BIT, 0x1FFF),
        (_LOAD_IP_HEADER, 14), (_LOAD_HALF_INDEXED, 16), (_EQUAL, 67),
        (_RETURN, _FRAME_BYTES), (_RETURN, 0),
    )  # fmt: skip
    program = []
    for at, (operation, value) in enumerate(steps):
        reject = len(steps) - 2 - at
        jump_true = reject if operation == _ANY_BIT else 0
        jump_false = reject if operation == _EQUAL else 0
        program.append(struct.pack("=HBBI", operation, jump_true, jump_false, value))
    return program


def _packet_socket(tap: str, mac: bytes) -> socket.socket:
    """A socket that hears DHCP requests of ``mac`` on ``tap``. Raises OSError."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        # The filter comes before the binding: nothing unfiltered is ever queued.
        program = _filter(mac)
        code = ctypes.create_string_buffer(b"".join(program))
        reference = struct.pack("HL", len(program), ctypes.addressof(code))
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, reference)
        opened.bind((tap, _ETH_P_IP))
    except OSError:
        opened.close()
        raise
    return opened


@dataclass(frozen=True)
class _Opened:
    """A tap as it was found, and the socket on it; none where the device is the one that is served already."""

    index: int
    socket: socket.socket | None


def _open(tap: str, mac: bytes, served: int) -> _Opened:
    """In the tap's place; ``served`` is the index of the device that is served, 0 for none. Raises OSError."""
    index = socket.if_nametoindex(tap)
    return _Opened(index, None if index == served else _packet_socket(tap, mac))


class _Port:
    """One tap that is served."""

    def __init__(
        self,
        tap: str,
        lease: Lease,
        place: Place,
        *,
        index: int,
        heard: socket.socket,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self.lease = lease
        self.place = place
        self.index = index
        self._tap = tap
        self._rate = TokenBucket(burst=_BURST, rate=_PER_SECOND, clock=clock)
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._socket = heard
        self._loop.add_reader(self._socket, self._read)

    def leave(self) -> socket.socket:
        """Stop reading; the caller closes the socket, which may take the kernel milliseconds."""
        if self._resume:
            self._resume.cancel()
        self._loop.remove_reader(self._socket)
        return self._socket

    def _read(self) -> None:
        for _ in range(_FRAMES_PER_WAKE):
            if not self._rate.holds():
                self._loop.remove_reader(self._socket)
                self._resume = self._loop.call_later(_PAUSE_SECONDS, self._go_on)
                return
            try:
                frame = self._socket.recv(_FRAME_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                # ENETDOWN is told once; a device that comes up again is heard again, a new one needs serve().
                if error.errno != errno.ENETDOWN:
                    log.warning("DHCP on %s cannot be read: %s", self._tap, error)
                return
            self._answer(frame)

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._socket, self._read)

    def _answer(self, frame: bytes) -> None:
        self._rate.spend()
        request = parse(frame)
        reply = answer(request, self.lease) if request else None
        if reply is None:
            return
        try:
            self._socket.send(reply)
        except OSError as error:
            log.debug("DHCP answer on %s was not sent, the guest asks again: %s", self._tap, error)


class DhcpServer:
    """One packet socket a tap, read on the event loop that calls ``serve``."""

    def __init__(self) -> None:
        self._ports: dict[str, _Port] = {}
        self._wanted: dict[str, Lease] = {}
        """What is asked to be served, as long as that is not taken back."""
        self._closing: set[asyncio.Future[None]] = set()

    async def serve(self, tap: str, lease: Lease, place: Place = THIS_HOST) -> None:
        """Answer on ``tap``, which is in ``place``. Idempotent; attaches anew when it is another device by now.

        Raises TemporaryError when the tap does not exist.
        """
        port = self._ports.get(tap)
        same = port is not None and port.lease.mac == lease.mac and port.place == place
        served = port.index if port is not None and same else 0
        self._wanted[tap] = lease
        try:
            mac = mac_bytes(lease.mac)
            opened = _open(tap, mac, served) if place == THIS_HOST else await place.run(_open, tap, mac, served)
        except OSError as error:
            if self._wanted.get(tap) is lease:
                self.stop(tap)
            raise TemporaryError(
                f"DHCP cannot be answered on network device {tap}: {error.strerror}. The daemon tries again.",
                key="NetworkNotReady",
            ) from error
        if self._wanted.get(tap) is not lease:
            # It was stopped, or is served with another lease, since.
            if opened.socket is not None:
                self._close(opened.socket)
        elif opened.socket is None and port is not None:
            port.lease = lease
        elif opened.socket is not None:
            self._stop(tap)
            self._ports[tap] = _Port(tap, lease, place, index=opened.index, heard=opened.socket)

    def serving(self) -> frozenset[str]:
        """The taps that are served."""
        return frozenset(self._ports)

    def stop(self, tap: str) -> None:
        """Answer no longer. Nothing happens when ``tap`` was not served."""
        self._wanted.pop(tap, None)
        self._stop(tap)

    def _stop(self, tap: str) -> None:
        port = self._ports.pop(tap, None)
        if port is None:
            return
        self._close(port.leave())

    def _close(self, heard: socket.socket) -> None:
        closing = asyncio.get_running_loop().run_in_executor(None, heard.close)
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Stop all."""
        self._wanted.clear()
        for tap in list(self._ports):
            self.stop(tap)
        await asyncio.gather(*self._closing)
