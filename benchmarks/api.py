"""The HTTP API: one GET, a list of 1,000 machines against ``virsh``, and 100 watchers.

The server runs in this process over a real store; clients are processes of their own on its unix socket.
"""

from __future__ import annotations

import asyncio
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from xml.etree import ElementTree

import orjson

from benchmarks.report import report
from hyperd.api.app import ApiServer
from hyperd.resources.all import CONFIG_MAP, KINDS, VIRTUAL_MACHINE
from hyperd.settings import ApiSettings, Settings
from hyperd.store.embedded import EmbeddedStore

MACHINES = 1000
WATCHERS = 100
EVENTS_PER_SECOND = 200
WATCH_SECONDS = 5
_CONNECTIONS = 64
_GET_SECONDS = 5.0
_MAPS = "/api/v1/namespaces/default/configmaps"
_VMS = "/apis/virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines"


def _connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def _request(url: str) -> bytes:
    return f"GET {url} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


def _answer_size(sock: socket.socket) -> int:
    """The bytes of the answer that comes next, once it has been read."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    left = length - len(body)
    while left:
        left -= len(sock.recv(min(left, 1 << 20)))
    return length


def load(path: str, url: str, connections: int, seconds: float) -> None:
    """As many GETs as the server answers, over keep-alive connections; prints them a second."""
    request = _request(url)
    poller = select.epoll()
    socks: dict[int, socket.socket] = {}
    for _ in range(connections):
        sock = _connect(path)
        socks[sock.fileno()] = sock
        poller.register(sock.fileno(), select.EPOLLIN)
        sock.sendall(request)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for descriptor, _ in poller.poll():
            sock = socks[descriptor]
            _answer_size(sock)
            done += 1
            sock.sendall(request)
    print(done / (time.perf_counter() - start))


def follow(path: str, url: str, watchers: int, expected: int) -> None:
    """Open watches, say so, and print the delays of all events in milliseconds, as JSON."""
    poller = select.epoll()
    tails: dict[int, bytes] = {}
    socks = {}
    for _ in range(watchers):
        sock = _connect(path)
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
            data = tails[descriptor] + socks[descriptor].recv(1 << 18)
            now = time.time()
            *lines, tails[descriptor] = data.split(b"\n")
            delays += [
                (now - float(line.split(b'"sent":"')[1].split(b'"')[0])) * 1000
                for line in lines
                if b'"sent":"' in line
            ]
    sys.stdout.buffer.write(orjson.dumps(delays))


async def _client(*args: object) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.api", *map(str, args), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output


async def _one_get(path: Path) -> None:
    cpu = time.process_time()
    rate = float(await _client("load", path, f"{_MAPS}/one", _CONNECTIONS, _GET_SECONDS))
    cpu = time.process_time() - cpu
    report("api_get_per_second", rate, "1/s", goal="15,000/s and more", ok=rate >= 15_000)
    report("api_get_server_cpu", cpu / (rate * _GET_SECONDS) * 1e6, "µs")


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


def _timed_lists(path: str) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        sock = _connect(path)
        sock.sendall(_request(_VMS))
        _answer_size(sock)
        times.append((time.perf_counter() - start) * 1000)
        sock.close()
    return median(times)


async def _list(store: EmbeddedStore, path: Path, folder: Path) -> None:
    for index in range(MACHINES):
        await store.create(VIRTUAL_MACHINE, "default", machine(f"vm-{index:04}"))
    ours = await asyncio.to_thread(_timed_lists, str(path))
    baseline = await asyncio.to_thread(_virsh_list, folder)
    report(
        "api_list_1000_vms",
        ours,
        "ms",
        "virsh list --all",
        baseline,
        "10 times faster",
        ours * 10 <= baseline,
    )


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


async def _watchers(store: EmbeddedStore, path: Path) -> None:
    expected = EVENTS_PER_SECOND * WATCH_SECONDS
    url = f"{_MAPS}?watch=true&fieldSelector=metadata.name%3Dticker"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.api", "follow", str(path), url, str(WATCHERS), str(expected)),
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
    lost = WATCHERS * expected - len(delays)
    report("api_watch_events_lost", lost, "events", goal="none of 100 watchers × 200 events/s", ok=lost == 0)
    p99 = quantiles(delays, n=100)[98]
    report("api_watch_delay_p99", p99, "ms", goal="below 25 ms", ok=p99 < 25)


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="hvb"))
    settings = Settings(state_dir=folder, run_dir=folder, log_dir=folder, api=ApiSettings(port=0))
    store = EmbeddedStore(settings.database_path, settings=settings.store, admit=None, kinds=KINDS)
    await store.start()
    server = ApiServer(settings, store)
    try:
        await server.start()
        one = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "one"}, "data": {"pad": "x" * 1000}}
        await store.create(CONFIG_MAP, "default", one)
        await _one_get(settings.socket_path)
        await _watchers(store, settings.socket_path)
        await _list(store, settings.socket_path, folder)
    finally:
        await server.stop()
        await store.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["load", path, url, connections, seconds]:
            load(path, url, int(connections), float(seconds))
        case ["follow", path, url, watchers, expected]:
            follow(path, url, int(watchers), int(expected))
        case _:
            asyncio.run(main())
