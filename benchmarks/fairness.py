"""What one hostile user, and one hostile stranger, cost an innocent one: p99 of its GETs beside and without them.

The hostile ones have many connections and ask for all they are answered; the innocent one asks now and then. All
are processes of their own, the server is this one.
"""

from __future__ import annotations

import asyncio
import select
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

from benchmarks.embedded import embedded
from benchmarks.report import report
from hyperd.api.tokens import Grant, Tokens
from hyperd.resources.all import CONFIG_MAP
from hyperd.roles import Role
from hyperd.store.interface import BY_SYSTEM

_MAPS = "/api/v1/namespaces/default/configmaps"
_CONNECTIONS = 64
_ASKED = 400
_PAUSE_SECONDS = 0.005
_FAR = 4e9
_HOSTILE = {
    "user": f"{_MAPS}/one",
    "user_lists": _MAPS,
    "user_watches": f"{_MAPS}?watch=true&timeoutSeconds=1",
    "stranger": f"{_MAPS}/one",
}


def _request(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def _connected(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address)
    return sock


def attack(address: str, path: str, token: str) -> None:
    """Ask over every connection, again with whatever comes, until this process is ended."""
    request = _request(path, token)
    poller, socks = select.epoll(), dict[int, socket.socket]()

    def connect() -> None:
        sock = _connected(address)
        socks[sock.fileno()] = sock
        poller.register(sock.fileno(), select.EPOLLIN)
        sock.sendall(request)

    for _ in range(_CONNECTIONS):
        connect()
    print("ready", flush=True)
    while True:
        for descriptor, _ in poller.poll():
            data = socks[descriptor].recv(1 << 18)
            if not data:
                socks.pop(descriptor).close()
                connect()
            elif b"HTTP/1.1" in data or data.endswith(b"0\r\n\r\n"):
                socks[descriptor].sendall(request)


def innocent(address: str, token: str) -> None:
    """Print p99 of the milliseconds of a GET."""
    request, sock, times = _request(f"{_MAPS}/one", token), _connected(address), []
    for _ in range(_ASKED):
        start = time.perf_counter()
        sock.sendall(request)
        while not sock.recv(1 << 16).startswith(b"HTTP/1.1 200"):
            raise SystemExit("the innocent user was refused")
        times.append((time.perf_counter() - start) * 1000)
        time.sleep(_PAUSE_SECONDS)
    print(quantiles(times, n=100)[98])


async def _p99(address: Path, token: str) -> float:
    process = await _started("innocent", address, token)
    output, _ = await process.communicate()
    return float(output)


async def _started(*args: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.fairness", *map(str, args), stdout=asyncio.subprocess.PIPE
    )


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="hvb"))
    try:
        async with embedded(folder) as (settings, store):
            one = {
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {"name": "one"},
                "data": {"pad": "x" * 1000},
            }
            await store.create(CONFIG_MAP, "default", one)
            tokens = [
                (await Tokens(store).create(name, Grant(Role.VIEWER, (), _FAR), write=BY_SYSTEM))[0]
                for name in ("eve", "ann")
            ]
            alone = min([await _p99(settings.socket_path, tokens[1]) for _ in range(2)])
            for who, path in _HOSTILE.items():
                token = "hyperd.eve.wrong" if who == "stranger" else tokens[0]
                hostile = await _started("attack", settings.socket_path, path, token)
                assert hostile.stdout is not None
                await hostile.stdout.readline()
                try:
                    beside = await _p99(settings.socket_path, tokens[1])
                finally:
                    hostile.kill()
                    await hostile.wait()
                goal = "at most twice what it is alone"
                report(
                    f"fairness_p99_beside_hostile_{who}", beside, "ms", "alone", alone, goal, beside <= 2 * alone
                )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["attack", address, path, token]:
            attack(address, path, token)
        case ["innocent", address, token]:
            innocent(address, token)
        case _:
            asyncio.run(main())
