"""A running guest of 256 MiB that goes to another node, by us and by libvirt alone, in turns, on the tests' nodes.

libvirt's own is from peer to peer over plain TCP, of a guest of the same size without a network whose disk is
copied as well; ours is by mutual TLS, and has a Pod made first. What is compared is the time from the record that
the guest is on its way until it is written where it is. Beside it stand the whole operation, and how long a TCP
session with the guest stood still at the most.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

from benchmarks.report import report
from tests.cluster.controlplane.build import binary
from tests.cluster.nodes import session
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import START_SECONDS, get, make, until
from tests.cluster.nodes.movers import SECONDS, moving, where
from tests.cluster.nodes.node import Node

ROUNDS = 3
GOAL = 1.2
_MIB = 256
_DISK = "/var/lib/bare.raw"
_DISKS_PORT = 49300
_LISTENS = '\nlisten_tls = 0\nlisten_tcp = 1\nauth_tcp = "none"\n'
_BARE = f"""<domain type="qemu">
  <name>bare</name><uuid>{uuid.uuid4()}</uuid>
  <memory unit="MiB">{_MIB}</memory><vcpu>1</vcpu>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <features><acpi/></features><cpu mode="maximum"/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="{_DISK}"/>
      <target dev="vda" bus="virtio"/></disk>
    <memballoon model="virtio"/>
  </devices>
</domain>"""


def main() -> None:
    """Print the figures."""
    with _nodes() as hyperds, moving(hyperds, memory={"size": f"{_MIB}Mi"}) as address:
        source, target = hyperds.nodes
        for node in hyperds.nodes:
            _listen(node)
        _fill(source, hyperds.bed.folder / "hyperd" / "served" / "guest.qcow2")
        source.run("virsh", "-q", "create", "/dev/stdin", stdin=_BARE)
        ours: list[float] = []
        whole: list[float] = []
        bare: list[float] = []
        gaps: list[float] = []
        for number in range(ROUNDS):
            bare.append(_bare(source, target))
            source, target = target, source
            took, all_, gap = _ours(hyperds, address, f"round-{number}")
            ours.append(took)
            whole.append(all_)
            gaps.append(gap)
        middle, control = statistics.median(ours), statistics.median(bare)
        report(
            "live_migration",
            middle,
            "s",
            "libvirt from peer to peer, over plain TCP",
            control,
            f"ratio <= {GOAL:g}",
            middle <= GOAL * control,
        )
        report("live_migration_operation", statistics.median(whole), "s", "the same", control)
        report("live_migration_gap", max(gaps), "s")


@contextlib.contextmanager
def _nodes() -> Iterator[Hyperds]:
    bed = Bed(2)
    hyperds: Hyperds | None = None
    try:
        bed.start()
        hyperds = Hyperds(bed, bed.nodes)
        hyperds.start()
        until(lambda: get(bed, "vmclass/generic", "{.status.phase}") == "Ready", START_SECONDS)
        yield hyperds
    finally:
        if hyperds is not None:
            hyperds.stop()
        bed.stop()


def _listen(node: Node) -> None:
    """Have libvirtd answer the other nodes, as it would without us."""
    settings = node.folder / "etc-libvirt" / "libvirtd.conf"
    settings.write_text(settings.read_text() + _LISTENS)
    node.end_program("libvirtd")
    node.begin("libvirtd", "libvirtd", "--listen")
    until(lambda: node.run("virsh", "-q", "-c", f"qemu+tcp://{node.address}/system", "list", rc=0) is not None, 60)


def _fill(node: Node, image: object) -> None:
    node.run("qemu-img", "convert", "-O", "raw", str(image), _DISK)
    node.run("truncate", "-s", f"{_MIB}M", _DISK)


def _bare(source: Node, target: Node) -> float:
    target.run("sh", "-c", f"rm -f {_DISK}; truncate -s {_MIB}M {_DISK}")
    began = time.monotonic()
    source.run(
        "virsh", "-q", "migrate", "bare", "--live", "--p2p", "--copy-storage-all",
        # By address: its name is known to nobody.
        "--migrateuri", f"tcp://{target.address}", "--disks-uri", f"tcp://{target.address}:{_DISKS_PORT}",
        f"qemu+tcp://{target.address}/system",
    )  # fmt: skip
    return time.monotonic() - began


def _ours(hyperds: Hyperds, address: str, name: str) -> tuple[float, float, float]:
    """Seconds that the guest was on its way, that the operation took, and that a session stood still."""
    bed, source = hyperds.bed, where(hyperds, "mover")
    log = source.folder / "log" / "session.log"
    log.unlink(missing_ok=True)
    source.begin("session", sys.executable, session.__file__, source.address, address, "7")
    until(lambda: log.read_text().strip(), 60)
    argv = [str(binary("kubectl")), "--kubeconfig", str(bed.plane.kubeconfig), "get", "vm/mover", "--watch", "-o"]
    began = time.monotonic()
    with subprocess.Popen([*argv, 'jsonpath={.status.holder.to}{"|"}{.status.nodeName}{"\\n"}'],
        stdout=subprocess.PIPE, text=True) as seen:  # fmt: skip
        make(bed, "VirtualMachineOperation", name, type="Evict", virtualMachineName="mover")
        left = ended = 0.0
        assert seen.stdout is not None
        for line in seen.stdout:
            to, _, node = line.strip().partition("|")
            left = left or (time.monotonic() if to else 0.0)
            if left and not to:
                ended = time.monotonic()
                break
        seen.kill()
    assert node != source.name, json.loads(bed.plane.kubectl("get", f"vmop/{name}", "-o", "json"))["status"]
    until(lambda: get(bed, f"vmop/{name}", "{.status.phase}") == "Completed", SECONDS)
    whole = time.monotonic() - began
    time.sleep(2)
    source.end_program("session")
    return ended - left, whole, float(log.read_text().split()[-1])


if __name__ == "__main__":
    main()
