"""The HTTP API: one GET, a list of 1,000 machines against ``virsh``, and 100 watchers, on both homes.

Each home is asked as clients of its host do: the embedded one on its unix socket (it runs in this process), the
API server over TLS. Clients are processes of their own.
"""

from __future__ import annotations

import asyncio
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple
from xml.etree import ElementTree

import orjson

from benchmarks.embedded import embedded
from benchmarks.kubernetes import kubernetes
from benchmarks.report import beside, report
from hyperd.client import kubeconfig, tls
from hyperd.resources.all import CONFIG_MAP, VIRTUAL_MACHINE
from hyperd.store.interface import Store

MACHINES = 1000
WATCHERS = 100
EVENTS_PER_SECOND = 200
WATCH_SECONDS = 5
_CLIENTS = 16
_CONNECTIONS = 64
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_LAST_CHUNK_BYTES = len(_LAST_CHUNK)
_GET_SECONDS = 5.0
_MAPS = "/api/v1/namespaces/default/configmaps"
_VMS = "/apis/virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines"


class Figures(NamedTuple):
    """What one home has to show."""

    gets: float
    """A second."""
    get_cpu: float
    """Microseconds of this process's CPU for each; that of the server where it runs here."""
    lost: int
    """Events that did not reach a watcher."""
    delay: float
    """p99 of milliseconds from before a write until a watcher has it."""
    lists: float
    """Milliseconds of a list of all machines."""


@cache
def _server(config: str) -> tuple[tuple[str, int], ssl.SSLContext]:
    home = kubeconfig.load([config]).home()
    return (home.host, home.port), tls.context(home)


def _connect(address: str) -> socket.socket:
    """To a unix socket, or to the API server that a kubeconfig names."""
    if Path(address).is_socket():
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
        return sock
    server, context = _server(address)
    sock = socket.create_connection(server)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_hostname=server[0])


def _request(url: str) -> bytes:
    return f"GET {url} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


def _read_answer(sock: socket.socket) -> None:
    """Read the answer that comes next, to its end."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length: ")
    if not length:
        tail = body[-_LAST_CHUNK_BYTES:]
        while not tail.endswith(_LAST_CHUNK):
            tail = (tail + sock.recv(1 << 20))[-_LAST_CHUNK_BYTES:]
        return
    left = int(length.split(b"\r\n")[0]) - len(body)
    while left:
        left -= len(sock.recv(min(left, 1 << 20)))


def load(address: str, url: str, connections: int, seconds: float) -> None:
    """As many GETs as the server answers, over keep-alive connections; prints them a second."""
    request = _request(url)
    poller = select.epoll()
    socks: dict[int, socket.socket] = {}
    for _ in range(connections):
        sock = _connect(address)
        socks[sock.fileno()] = sock
        poller.register(sock.fileno(), select.EPOLLIN)
        sock.sendall(request)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for descriptor, _ in poller.poll():
            sock = socks[descriptor]
            _read_answer(sock)
            done += 1
            sock.sendall(request)
    print(done / (time.perf_counter() - start))


def follow(address: str, url: str, watchers: int, expected: int) -> None:
    """Open watches, say so, and print the delays of all events in milliseconds, as JSON."""
    poller = select.epoll()
    tails: dict[int, bytes] = {}
    socks = {}
    for _ in range(watchers):
        sock = _connect(address)
        sock.sendall(_request(url))
        while not sock.recv(1 << 16).startswith(b"HTTP/1.1 200"):
            pass
        socks[sock.fileno()] = sock
        tails[sock.fileno()] = b""
        poller.register(sock.fileno(), select.EPOLLIN)
    print("ready", flush=True)
    delays: list[float] = []
    while len(delays) < watchers * expected:
        ready = poller.poll(10)
        if not ready:
            break
        for descriptor, _ in ready:
            data = tails[descriptor] + _received(socks[descriptor])
            now = time.time()
            *lines, tails[descriptor] = data.split(b"\n")
            delays += [
                (now - float(line.split(b'"sent":"')[1].split(b'"')[0])) * 1000
                for line in lines
                if b'"sent":"' in line
            ]
    sys.stdout.buffer.write(orjson.dumps(delays))


def _received(sock: socket.socket) -> bytes:
    """All that has arrived; what TLS holds back would wake nobody."""
    data = sock.recv(1 << 18)
    while isinstance(sock, ssl.SSLSocket) and sock.pending():
        data += sock.recv(1 << 18)
    return data


async def _client(*args: object) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.api", *map(str, args), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output


async def _gets(store: Store, address: Path) -> tuple[float, float]:
    one = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "one"}, "data": {"pad": "x" * 1000}}
    await store.create(CONFIG_MAP, "default", one)
    cpu = time.process_time()
    rate = float(await _client("load", address, f"{_MAPS}/one", _CONNECTIONS, _GET_SECONDS))
    return rate, (time.process_time() - cpu) / (rate * _GET_SECONDS) * 1e6


def _virsh_list(folder: Path) -> float:
    """Milliseconds that ``virsh list --all`` takes for as many machines; libvirt's test driver, no daemon."""
    node = ElementTree.Element("node")
    for index in range(MACHINES):
        domain = ElementTree.SubElement(node, "domain", type="test")
        ElementTree.SubElement(domain, "name").text = f"vm-{index:04}"
        ElementTree.SubElement(domain, "memory").text = "65536"
        ElementTree.SubElement(ElementTree.SubElement(domain, "os"), "type").text = "hvm"
    path = folder / "node.xml"
    ElementTree.ElementTree(node).write(path)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        listed = subprocess.run(
            ["virsh", "-c", f"test://{path}", "list", "--all"], check=True, capture_output=True, text=True
        )
        times.append((time.perf_counter() - start) * 1000)
        assert listed.stdout.count("vm-") == MACHINES
    return median(times)


def _timed_lists(address: str) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        sock = _connect(address)
        sock.sendall(_request(_VMS))
        _read_answer(sock)
        times.append((time.perf_counter() - start) * 1000)
        sock.close()
    return median(times)


async def _lists(store: Store, address: Path) -> float:
    names = (f"vm-{index:04}" for index in range(MACHINES))

    async def client() -> None:
        for name in names:
            await store.create(VIRTUAL_MACHINE, "default", machine(name))

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return await asyncio.to_thread(_timed_lists, str(address))


def machine(name: str) -> dict[str, object]:
    """A manifest that the schema takes."""
    return {
        "apiVersion": VIRTUAL_MACHINE.api_version,
        "kind": VIRTUAL_MACHINE.kind,
        "metadata": {"name": name},
        "spec": {
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1},
            "memory": {"size": "512Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": f"{name}-root"}],
        },
    }


async def _watchers(store: Store, address: Path) -> tuple[int, float]:
    expected = EVENTS_PER_SECOND * WATCH_SECONDS
    version = (await store.list(CONFIG_MAP, "default")).resource_version
    url = f"{_MAPS}?watch=true&fieldSelector=metadata.name%3Dticker&resourceVersion={version}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.api", "follow", str(address), url, str(WATCHERS), str(expected)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    ticker = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "ticker"}, "data": {"pad": "x" * 1000}}
    start = time.perf_counter()
    for number in range(expected):
        await asyncio.sleep(max(0.0, start + number / EVENTS_PER_SECOND - time.perf_counter()))
        ticker["data"] = {"pad": "x" * 1000, "sent": repr(time.time())}
        write = store.update(CONFIG_MAP, "default", "ticker", ticker) if number else None
        await (write or store.create(CONFIG_MAP, "default", ticker))
    output = await process.stdout.read()
    await process.wait()
    delays = orjson.loads(output)
    return WATCHERS * expected - len(delays), quantiles(delays, n=100)[98]


async def _figures(store: Store, address: Path) -> Figures:
    return Figures(*await _gets(store, address), *await _watchers(store, address), await _lists(store, address))


def _judge(ours: Figures, virsh: float) -> None:
    report("api_get_per_second", ours.gets, "1/s", goal="15,000/s and more", ok=ours.gets >= 15_000)
    report("api_get_server_cpu", ours.get_cpu, "µs")
    none = "none of 100 watchers × 200 events/s"
    report("api_watch_events_lost", ours.lost, "events", goal=none, ok=ours.lost == 0)
    report("api_watch_delay_p99", ours.delay, "ms", goal="below 25 ms", ok=ours.delay < 25)
    fast = ours.lists * 10 <= virsh
    report("api_list_1000_vms", ours.lists, "ms", "virsh list --all", virsh, "10 times faster", fast)


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="hvb"))
    try:
        async with embedded(folder) as (settings, own):
            ours = await _figures(own, settings.socket_path)
        _judge(ours, _virsh_list(folder))
    finally:
        shutil.rmtree(folder)
    async with kubernetes() as (plane, store):
        theirs = await _figures(store, plane.kubeconfig)
    beside("api_get_per_second", theirs.gets, "1/s", ours.gets)
    beside("api_watch_events_lost", theirs.lost, "events", ours.lost)
    beside("api_watch_delay_p99", theirs.delay, "ms", ours.delay)
    beside("api_list_1000_vms", theirs.lists, "ms", ours.lists)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["load", address, url, connections, seconds]:
            load(address, url, int(connections), float(seconds))
        case ["follow", address, url, watchers, expected]:
            follow(address, url, int(watchers), int(expected))
        case _:
            asyncio.run(main())
