"""What the hostile ones do, each kind in a process of its own: ``python -m benchmarks.fairness.attacks KIND``.

Where the server is, and the token, come on stdin as one line of JSON; "ready" is printed once all connections are
open. All ask for whatever they are answered, again and again, until the process is ended.
"""

from __future__ import annotations

import json
import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

from hyperd.client import kubeconfig

MAPS: Final = "/api/v1/namespaces/default/configmaps"
_MANY: Final = "/api/v1/namespaces/many/configmaps"
_CONNECTIONS: Final = 64
_CHUNKS: Final = b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n"
_TABLE: Final = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
_JSON: Final = {"Content-Type": "application/json"}
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}


class Target:
    """Where the server is."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self.token = told["token"]
        self._socket = told["socket"]
        home = kubeconfig.load([told["kubeconfig"]]).home()
        self._address = (home.host, home.port)

    def connect(self) -> socket.socket:
        """Over the unix socket."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self._socket)
        return sock

    def reach(self) -> socket.socket:
        """To the TLS port, without TLS."""
        return socket.create_connection(self._address)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The bytes of a request; a body that is no JSON is in chunks already."""
        lines = {"Host": "h", "Authorization": f"Bearer {self.token}", **(headers or {})}
        if body and "Transfer-Encoding" not in lines:
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def again_and_again(target: Target, request: Callable[[int], bytes], connections: int = _CONNECTIONS) -> None:
    """Ask over every connection, again with whatever comes; ``request(number)`` gives each one's bytes."""
    poller, socks, numbers = select.epoll(), dict[int, socket.socket](), count()

    def connect() -> None:
        sock = target.connect()
        socks[sock.fileno()] = sock
        poller.register(sock.fileno(), select.EPOLLIN)
        send(sock)

    def send(sock: socket.socket) -> None:
        with suppress(OSError):  # a server that has answered need not read the rest
            sock.sendall(request(next(numbers)))

    for _ in range(connections):
        connect()
    print("ready", flush=True)
    while True:
        for descriptor, _ in poller.poll():
            try:
                data = socks[descriptor].recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                socks.pop(descriptor).close()
                connect()
            elif b"HTTP/1.1" in data or data.endswith(b"0\r\n\r\n"):
                send(socks[descriptor])


def _asking(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Callable[[Target], None]:
    def attack(target: Target) -> None:
        request = target.request(method, path, body, headers)
        again_and_again(target, lambda _: request)

    return attack


def _writes(target: Target) -> None:
    """Each connection changes one of 64 objects."""
    again_and_again(target, lambda number: _change(target, number))


def _change(target: Target, number: int) -> bytes:
    body = json.dumps({"data": {"number": str(number)}}).encode()
    return target.request("PATCH", f"{_MANY}/map-{number % _CONNECTIONS}", body, _MERGE)


def _fan_out(target: Target) -> None:
    """One write after the other, each of which 500 watches of the same user are told."""
    watching = target.request("GET", f"{_MANY}?watch=true&fieldSelector=metadata.name=map-0")
    socks = [target.connect() for _ in range(500)]
    for sock in socks:
        sock.sendall(watching)
        sock.recv(1 << 16)
        sock.setblocking(False)
    poller = select.epoll()
    for sock in socks:
        poller.register(sock.fileno(), select.EPOLLIN)
    by_number, writer = {sock.fileno(): sock for sock in socks}, target.connect()
    poller.register(writer.fileno(), select.EPOLLIN)
    print("ready", flush=True)
    writer.sendall(_change(target, 0))
    for number in count(1):
        for descriptor, _ in poller.poll():
            if descriptor == writer.fileno():
                writer.recv(1 << 16)
                writer.sendall(_change(target, number * _CONNECTIONS))
            else:
                by_number[descriptor].recv(1 << 18)


def _slow_readers(target: Target) -> None:
    """Large lists are asked for, and hardly read."""
    request, socks = target.request("GET", _MANY), list[socket.socket]()
    print("ready", flush=True)
    while True:
        sock = target.connect()
        sock.sendall(request)
        socks.append(sock)
        if len(socks) > 100:
            socks.pop(0).close()
        for one in socks[:10]:
            one.setblocking(False)
            with suppress(OSError):
                one.recv(4096)
        time.sleep(0.002)


def _connections(target: Target) -> None:
    """Connections are opened over both listeners, and left."""
    print("ready", flush=True)
    socks: list[socket.socket] = []
    while True:
        with suppress(OSError):
            socks += [target.connect(), target.reach()]
        while len(socks) > 100:
            socks.pop(0).close()


def _handshakes(target: Target) -> None:
    """64 TLS handshakes begin together, and none goes beyond its first message."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    hello = sent.read()
    print("ready", flush=True)
    while True:
        with suppress(OSError):
            socks = [target.reach() for _ in range(_CONNECTIONS)]
            for sock in socks:
                sock.sendall(hello)
            for sock in socks:
                sock.settimeout(1)
                sock.recv(1 << 14)
        for sock in socks:
            sock.close()


def _object(size: int, **more: Any) -> bytes:
    return json.dumps({"metadata": {"generateName": "made-"}, "data": {"pad": "x" * size}, **more}).encode()


def _fair(target: Target) -> None:
    """One thing at a time."""
    request = target.request("GET", f"{MAPS}/map-0")
    again_and_again(target, lambda _: request, connections=1)


USER: Final[Mapping[str, Callable[[Target], None]]] = {
    "fair": _fair,
    "gets": _asking("GET", f"{MAPS}/map-0"),
    "lists": _asking("GET", MAPS),
    "large_lists": _asking("GET", _MANY),
    "tables": _asking("GET", _MANY, headers=_TABLE),
    "watches": _asking("GET", f"{MAPS}?watch=true&timeoutSeconds=1"),
    "fan_out": _fan_out,
    "chunks": _asking("POST", MAPS, _CHUNKS, {"Transfer-Encoding": "chunked"}),
    "bodies": _asking("POST", f"{MAPS}?dryRun=All", _object(200_000), _JSON),
    "writes": _writes,
    "deletions": _asking("DELETE", f"{_MANY}?dryRun=All"),
    "slow_readers": _slow_readers,
}
"""What a user does who is logged in."""

STRANGER: Final[Mapping[str, Callable[[Target], None]]] = {
    "logins": _asking("GET", f"{MAPS}/map-0"),
    "health": _asking("GET", "/healthz"),
    "connections": _connections,
    "handshakes": _handshakes,
}
"""What somebody does who has no good token."""


if __name__ == "__main__":
    os.nice(5)
    {**USER, **STRANGER}[sys.argv[1]](Target(json.loads(sys.stdin.readline())))
