"""What a virtual machine costs here: the time from its POST to its start, and the memory and writes of many.

Everything runs in a private libvirt host of its own namespaces (``tests.host.node``). The start of a machine is
what an independent libvirt client sees as one, against ``define`` and ``create`` of the same domain by
libvirt-python until the same event; both sides alternate, so that other load meets both alike. Memory is measured
with libvirt's test driver, whose domains run nothing, behind that host's libvirtd.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import libvirt

from benchmarks.kubernetes import control_plane
from benchmarks.report import beside, report
from hyperd.client.sync import Client
from hyperd.errors import HyperdError
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from tests.host.clustered import installed, on_cluster
from tests.host.node import Node, wait_until
from tests.host.running import Hyperd, ImageServer, Object, disk, machine, resource

ROUNDS = 30
MACHINES = 1000
START_GOAL_MS = 50.0
MEMORY_GOAL_MIB = 120.0
WRITES_GOAL = 8.0
_PATIENCE = 30.0
_MANY_SECONDS = 600.0
_TEST_DRIVER = {
    "hypervisor.uri": "test+unix:///default",
    "network.virtual_machine_cidrs": '["10.66.0.0/20"]',
    "kubernetes.lease_seconds": 15.0,
}


class Startup:
    """When an independent libvirt client saw which domain start."""

    def __init__(self, uri: str) -> None:
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._run, daemon=True).start()
        self._seen: dict[str, float] = {}
        self._arrived = threading.Condition()
        self.connection = libvirt.open(uri)
        lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        self.connection.domainEventRegisterAny(None, lifecycle, self._record, None)

    def wait(self, uid: str) -> float:
        """The ``perf_counter`` of the start. Raises TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: uid in self._seen, _PATIENCE):
                raise TimeoutError(f"domain {uid} did not start in {_PATIENCE:g} s")
            return self._seen[uid]

    def _record(self, _: libvirt.virConnect, domain: libvirt.virDomain, event: int, *__: object) -> None:
        now = time.perf_counter()
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            with self._arrived:
                self._seen.setdefault(domain.UUIDString(), now)
                self._arrived.notify_all()

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


def by_hyperd(daemon: Hyperd, starts: Startup, number: int) -> tuple[float, str]:
    """(ms from the POST to the start, the domain's XML) of one machine on a disk that is ready."""
    name = f"vm{number}"
    started = time.perf_counter()
    vm = daemon.create(machine(name, "blank", terminationGracePeriodSeconds=0))
    uid = vm["metadata"]["uid"]
    took = starts.wait(uid) - started
    domain = starts.connection.lookupByUUIDString(uid)
    xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    daemon.delete("vm", name)
    daemon.wait_gone("vm", name)
    return took * 1000, xml


def by_libvirt(starts: Startup, xml: str, folder: Path) -> float:
    """Milliseconds of define and create of the same domain, with a disk, a console and a tap of its own."""
    uid, text = _twin(xml, folder)
    started = time.perf_counter()
    domain = starts.connection.defineXML(text)
    domain.create()
    took = starts.wait(uid) - started
    domain.destroy()
    domain.undefine()
    return took * 1000


def _twin(xml: str, folder: Path) -> tuple[str, str]:
    root = ET.fromstring(xml)
    uid = str(uuid.uuid4())
    values = {"name": f"bench-{uid}", "uuid": uid}
    for tag, value in values.items():
        element = root.find(tag)
        assert element is not None
        element.text = value
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    for tag, attribute, file in (
        ("devices/disk/source", "file", "disk"),
        ("devices/serial/source", "path", "serial"),
        ("devices/console/source", "path", "serial"),
        ("devices/serial/log", "file", "log"),
        ("devices/console/log", "file", "log"),
    ):
        for element in root.findall(tag):
            element.set(attribute, str(folder / file))
    for interface in root.findall("devices/interface"):
        for target in interface.findall("target"):
            interface.remove(target)
    return uid, ET.tostring(root, encoding="unicode")


class Start(NamedTuple):
    """Milliseconds from the POST of a machine to its start, and of ``define`` and ``create`` beside it."""

    p50: float
    p95: float
    libvirt_p50: float
    libvirt_p95: float


def starting(node: Node, home: AbstractContextManager[Hyperd]) -> Start:
    """How long machines take to start on ``home``."""
    folder = node.make_dir()
    folder.chmod(0o777)
    node.exec(["qemu-img", "create", "-q", "-f", "qcow2", folder / "disk", "64M"])
    (folder / "disk").chmod(0o666)
    starts = Startup(node.uri)
    with home as daemon:
        daemon.create(disk("blank", size="64Mi"))
        daemon.wait_phase("vd", "blank", "Ready")
        _, xml = by_hyperd(daemon, starts, 0)
        by_libvirt(starts, xml, folder)
        ours, theirs = [], []
        for number in range(1, ROUNDS + 1):
            ours.append(by_hyperd(daemon, starts, number)[0])
            theirs.append(by_libvirt(starts, xml, folder))
        daemon.delete("vd", "blank")
        daemon.wait_gone("vd", "blank")
    starts.connection.close()
    columns = (ours, theirs)
    p50, p95 = map(statistics.median, columns), (statistics.quantiles(column, n=20)[18] for column in columns)
    return Start(*(value for pair in zip(p50, p95, strict=True) for value in pair))


def resident(daemon: Hyperd) -> float:
    """The daemon's resident memory in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def writes(daemon: Hyperd) -> float:
    """Changes that the store has committed since the daemon's start."""
    found = re.search(r"^hyperd_store_writes_total (\S+)", daemon.local_text("/metrics"), re.MULTILINE)
    assert found is not None
    return float(found[1])


class Beats:
    """Counts the changes of what a daemon changes with or without machines."""

    def __init__(self, daemon: Hyperd) -> None:
        self.count = 0
        for word, namespace in (("nodes", None), ("leases", SYSTEM_NAMESPACE)):
            # A connection each, held from now on: an API server forgets changes within a minute or two.
            client = Client(daemon.client.home, timeout=_MANY_SECONDS)
            events = client.watch(resource(word), namespace, timeout=_MANY_SECONDS)
            threading.Thread(target=self._follow, args=(events,), daemon=True).start()

    def _follow(self, events: Iterator[Object]) -> None:
        with contextlib.suppress(HyperdError):
            for event in events:
                self.count += event["type"] == "MODIFIED"


def running(daemon: Hyperd) -> int:
    return sum((vm.get("status") or {}).get("phase") == "Running" for vm in daemon.list("vm"))


@contextlib.contextmanager
def iso(node: Node) -> Iterator[str]:
    """URL of a small image that any number of machines can share."""
    folder = node.make_dir()
    content = folder / "content"
    content.mkdir()
    (content / "hello").write_text("hello\n")
    node.exec(["genisoimage", "-quiet", "-o", folder / "disc.iso", content])
    server = ImageServer(node, folder)
    try:
        yield f"{server.url}/disc.iso"
    finally:
        server.close()


class Costs(NamedTuple):
    """Of many machines: MiB of the daemon without and with them, and the store's writes for each."""

    idle: float
    full: float
    writes: float


def many(node: Node, home: AbstractContextManager[Hyperd]) -> Costs:
    """What a thousand machines cost on ``home``."""
    with iso(node) as url, home as daemon:
        daemon.create(
            {
                "apiVersion": "virtualization.deckhouse.io/v1alpha2",
                "kind": "ClusterVirtualImage",
                "metadata": {"name": "disc"},
                "spec": {"dataSource": {"type": "HTTP", "http": {"url": url}}},
            }
        )
        daemon.wait_phase("cvi", "disc", "Ready")
        idle = resident(daemon)
        devices = [{"kind": "ClusterVirtualImage", "name": "disc"}]
        # The first one also changes the image, to say that it is in use.
        daemon.create(machine("first", blockDeviceRefs=devices, memory={"size": "1Mi"}))
        wait_until(lambda: any(told["reason"] == "Started" for told in daemon.list("events")), what="its start")
        written = writes(daemon)
        beats = Beats(daemon)
        for number in range(MACHINES):
            vm = machine(f"vm{number}", blockDeviceRefs=devices, memory={"size": "1Mi"})
            daemon.create(vm)
        deadline = time.monotonic() + _MANY_SECONDS
        # A list of all of them costs the daemon something, so it is asked seldom.
        while running(daemon) <= MACHINES:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{running(daemon)} of {MACHINES} machines run after {_MANY_SECONDS:g} s")
            time.sleep(1)
        written = (writes(daemon) - written - beats.count) / MACHINES
        return Costs(idle, resident(daemon), written)


def judge(start: Start, costs: Costs) -> bool:
    """Report the embedded home's figures; whether the goals are met."""
    against = "define + create by libvirt-python"
    report("machines.start_p50", start.p50, "ms", against, start.libvirt_p50)
    soon = start.p95 - start.libvirt_p95 <= START_GOAL_MS
    goal = f"at most {START_GOAL_MS:.0f} ms more"
    report("machines.start_p95", start.p95, "ms", against, start.libvirt_p95, goal, soon)
    report("machines.memory_idle", costs.idle, "MiB")
    small, few = costs.full <= MEMORY_GOAL_MIB, costs.writes <= WRITES_GOAL
    goal = f"at most {MEMORY_GOAL_MIB:.0f}"
    report(f"machines.memory_{MACHINES}", costs.full, "MiB", "no machine", costs.idle, goal, small)
    report("machines.writes", costs.writes, "writes per machine", "", None, f"at most {WRITES_GOAL:g}", few)
    return soon and small and few


def on_kubernetes(node: Node, start: Start, costs: Costs) -> None:
    """Report the same with the objects in an API server, where hyperd is installed as its manifests do."""
    with control_plane() as plane:
        other = starting(node, on_cluster(node, plane))
        beside("machines.start_p50", other.p50, "ms", start.p50)
        beside("machines.start_p95", other.p95, "ms", start.p95)
        # Nothing of a thousand machines is taken away again: the control plane ends with them.
        more = many(node, installed(node, plane, settings=_TEST_DRIVER))
    beside("machines.memory_idle", more.idle, "MiB", costs.idle)
    beside(f"machines.memory_{MACHINES}", more.full, "MiB", costs.full)
    beside("machines.writes", more.writes, "writes per machine", costs.writes)


def main() -> int:
    """Exit status 1 when a goal is missed."""
    if os.geteuid() != 0:
        print("benchmarks.machines needs root, for namespaces and taps.", file=sys.stderr)
        return 1
    with Node("bench") as node:
        start, costs = starting(node, Hyperd(node)), many(node, Hyperd(node, settings=_TEST_DRIVER))
        met = judge(start, costs)
        on_kubernetes(node, start, costs)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
