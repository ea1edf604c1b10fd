"""What one hostile user, and one hostile stranger, cost an innocent one: p99 of its GETs beside each of them.

The hostile ones have many connections and ask for all they are answered; the innocent one asks now and then. All
are processes of their own, the server is this one.

Compared is with a fair neighbour: a user with one connection who asks for one object as fast as it is answered.
One loop serves one request at a time, and any neighbour who is busy costs the wait for what is being served, as
well as processor time for its own process; only what hostility adds is unfair. "Alone" stands beside it.

Two things are measured. Milliseconds are what a user sees, and on a busy host mostly what the scheduler does: the
two take turns in short rounds, so that both see the same of it. The server's own CPU time between a question and
its answer is how much work of others a request waits for, whatever else the host does.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import quantiles

from benchmarks.embedded import embedded
from benchmarks.report import report
from hyperd.api.access.tokens import Grant, Tokens
from hyperd.resources.all import CONFIG_MAP
from hyperd.roles import Role
from hyperd.store.interface import BY_SYSTEM

_MAPS = "/api/v1/namespaces/default/configmaps"
_CONNECTIONS = 64
_ROUNDS = 2
_ASKED = 150
_PAUSE_SECONDS = 0.005
_FAR = 4e9
_LISTED = 50
_NEIGHBOUR = "a neighbour who asks one thing at a time"
_HOSTILE = {
    "user": f"GET {_MAPS}/one",
    "user_lists": f"GET {_MAPS}",
    "user_watches": f"GET {_MAPS}?watch=true&timeoutSeconds=1",
    "user_chunks": f"POST {_MAPS}",
    "stranger": f"GET {_MAPS}/one",
}
_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n"


def _request(asked: str, token: str) -> bytes:
    end = _CHUNKS if asked.startswith("POST") else b"\r\n"
    return f"{asked} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n".encode() + end


def _connected(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address)
    return sock


def attack(address: str, asked: str, token: str, connections: int) -> None:
    """Ask over every connection, again with whatever comes, until this process is ended."""
    request = _request(asked, token)
    poller, socks = select.epoll(), dict[int, socket.socket]()

    def connect() -> None:
        sock = _connected(address)
        socks[sock.fileno()] = sock
        poller.register(sock.fileno(), select.EPOLLIN)
        send(sock)

    def send(sock: socket.socket) -> None:
        with suppress(OSError):  # a server that has answered need not read the rest
            sock.sendall(request)

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


def innocent(address: str, token: str) -> None:
    """Print the milliseconds of each GET, and those of the server's CPU time meanwhile."""
    request, sock = _request(f"GET {_MAPS}/one", token), _connected(address)
    with suppress(
        PermissionError
    ):  # what is measured is the server, not how long the host leaves this one waiting
        os.nice(-20)
    clock = (~os.getppid() << 3) | 2  # the server's CPU time, as clock_getcpuclockid(3) names it
    times, used = [], []
    for _ in range(_ASKED):
        start, before = time.perf_counter(), time.clock_gettime(clock)
        sock.sendall(request)
        while not sock.recv(1 << 16).startswith(b"HTTP/1.1 200"):
            raise SystemExit("the innocent user was refused")
        times.append((time.perf_counter() - start) * 1000)
        used.append((time.clock_gettime(clock) - before) * 1000)
        time.sleep(_PAUSE_SECONDS)
    print(json.dumps([times, used]))


class _Times:
    """What an innocent user saw in some rounds."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._used: list[float] = []

    async def ask(self, address: Path, token: str) -> None:
        process = await _started("innocent", address, token)
        output, _ = await process.communicate()
        times, used = json.loads(output)
        self._times += times
        self._used += used

    async def ask_beside(self, address: Path, token: str, asked: str, of: str, connections: int) -> None:
        hostile = await _started("attack", address, asked, of, connections)
        assert hostile.stdout is not None
        await hostile.stdout.readline()
        try:
            await self.ask(address, token)
        finally:
            hostile.kill()
            await hostile.wait()

    @property
    def p99(self) -> float:
        return quantiles(self._times, n=100)[98]

    @property
    def cpu_p99(self) -> float:
        return quantiles(self._used, n=100)[98]


async def _started(*args: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.fairness", *map(str, args), stdout=asyncio.subprocess.PIPE
    )


async def _judge(who: str, asked: str, address: Path, tokens: list[str]) -> None:
    """Report how an innocent user fares beside ``who``."""
    eve, ann = tokens
    fair, hostile = _Times(), _Times()
    for _ in range(_ROUNDS):
        await fair.ask_beside(address, ann, f"GET {_MAPS}/one", eve, 1)
        token = "hyperd.eve.wrong" if who == "stranger" else eve
        await hostile.ask_beside(address, ann, asked, token, _CONNECTIONS)
    goal = "at most twice what it is beside the neighbour"
    for name, beside, baseline in (
        ("p99", hostile.p99, fair.p99),
        ("server_cpu_p99", hostile.cpu_p99, fair.cpu_p99),
    ):
        ok = beside <= 2 * baseline
        report(f"fairness_{name}_beside_hostile_{who}", beside, "ms", _NEIGHBOUR, baseline, goal, ok)


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="hvb"))
    try:
        async with embedded(folder) as (settings, store):
            for name in ("one", *(f"more-{number}" for number in range(1, _LISTED))):
                made = {
                    "kind": "ConfigMap",
                    "apiVersion": "v1",
                    "metadata": {"name": name},
                    "data": {"pad": "x" * 1000},
                }
                await store.create(CONFIG_MAP, "default", made)
            tokens = [
                (await Tokens(store).create(name, Grant(Role.EDITOR, (), _FAR), write=BY_SYSTEM))[0]
                for name in ("eve", "ann")
            ]
            alone = _Times()
            await alone.ask(settings.socket_path, tokens[1])
            report("fairness_p99_alone", alone.p99, "ms")
            report("fairness_server_cpu_p99_alone", alone.cpu_p99, "ms")
            for who, asked in _HOSTILE.items():
                await _judge(who, asked, settings.socket_path, tokens)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["attack", address, asked, token, connections]:
            attack(address, asked, token, int(connections))
        case ["innocent", address, token]:
            innocent(address, token)
        case _:
            asyncio.run(main())
