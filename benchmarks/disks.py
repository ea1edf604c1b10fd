"""Disks of images of 1 and 10 GiB, snapshots of a disk that a guest writes to, and an export.

A disk is counted from its POST until it is Ready, when its image has been used here before; a snapshot likewise,
against ``virsh snapshot-create-as --disk-only`` of another guest that does the same; an export by curl against
``cat`` of the image's file. Rounds alternate, so that a busy machine meets all; medians are compared.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.imports import source, write_image
from benchmarks.report import report
from tests.guest import Form
from tests.guest import image as guest_image
from tests.host.node import Node
from tests.host.running import Console, Hyperd, Object, disk, image, machine

ROUNDS = 10
DISK_GOAL_MS = 100.0
SNAPSHOT_GOAL = 1.2
_PATIENCE = 300.0
_WRITING = "(while :; do dd if=/dev/zero of=$disk bs=64k count=64 conv=fsync; done) 2>/dev/null & echo"


def median_ms(what: Callable[[int], float]) -> float:
    """Of so many rounds."""
    return 1000 * statistics.median(what(number) for number in range(ROUNDS))


def timed(what: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def snapshot(name: str, of: str) -> Object:
    """A VirtualDiskSnapshot of a guest that has no agent."""
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualDiskSnapshot",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"virtualDiskName": of, "requiredConsistency": False},
    }


def disks_of(daemon: Hyperd, name: str) -> None:
    """Disks of the image ``name``, which one was made of before."""
    daemon.create(disk(f"{name}-first", image=name))
    daemon.wait_phase("vd", f"{name}-first", "Ready", timeout=_PATIENCE)

    def one(number: int) -> float:
        made = f"{name}-{number}"
        taken = timed(lambda: (daemon.create(disk(made, image=name)), daemon.wait_phase("vd", made, "Ready")))
        daemon.delete("vd", made)
        return taken

    took = median_ms(one)
    report(f"disk.{name}", took, "ms", goal=f"<= {DISK_GOAL_MS:.0f} ms", ok=took <= DISK_GOAL_MS)


def busy(daemon: Hyperd, name: str) -> str:
    """A guest that writes to a second disk of 10 GiB all the time; its domain."""
    daemon.create(disk(name, image="guest"))
    daemon.create(disk(f"{name}-data", size="10Gi"))
    daemon.create(machine(name, name, f"{name}-data", terminationGracePeriodSeconds=0))
    vm = daemon.wait_phase("vm", name, "Running")
    daemon.wait_console(vm, "login:")
    with Console(daemon, name) as console:
        console.log_in()
        console.run("for disk in /dev/sd?; do [ -b ${disk}1 ] || break; done")
        console.run(_WRITING)
    return f"{daemon.instance}-{vm['metadata']['uid']}"


def snapshots(daemon: Hyperd, folder: Path) -> None:
    """Of two guests in turns."""
    busy(daemon, "ours")
    domain = busy(daemon, "bare")
    theirs = []

    def one(number: int) -> float:
        file = folder / f"{number}.qcow2"
        only = [
            "--disk-only",
            "--no-metadata",
            "--atomic",
            "--diskspec",
            f"sdb,file={file}",
            "--diskspec",
            "sda,snapshot=no",
        ]
        theirs.append(timed(lambda: daemon.node.virsh("snapshot-create-as", domain, f"s{number}", *only)))
        name = f"s{number}"
        return timed(lambda: (daemon.create(snapshot(name, "ours-data")), daemon.wait_phase("vds", name, "Ready")))

    ours, beside = median_ms(one), 1000 * statistics.median(theirs)
    goal = f"ratio <= {SNAPSHOT_GOAL}"
    report("snapshot.10GiB", ours, "ms", "virsh snapshot-create-as", beside, goal, ours <= SNAPSHOT_GOAL * beside)


def exports(daemon: Hyperd, node: Node, file: Path) -> None:
    """Of the disk of an image of 1 GiB."""
    path = (
        "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualdisks/1gib-first/export"
    )
    theirs: list[float] = []

    def one(_: int) -> float:
        theirs.append(timed(lambda: node.exec(["sh", "-c", f"cat {file} | cat > /dev/null"])))
        curl: list[str | Path] = [
            "curl",
            "-sS",
            "--fail",
            "--unix-socket",
            daemon.socket,
            "-o",
            "/dev/null",
            f"http://hv{path}",
        ]
        return timed(lambda: node.exec(curl, timeout=_PATIENCE))

    ours = median_ms(one)
    report("export.1GiB", ours, "ms", "cat", 1000 * statistics.median(theirs))


def main() -> int:
    """Print a line for each figure."""
    if os.geteuid() != 0:
        print("benchmarks.disks needs root, for the daemon's namespaces.", file=sys.stderr)
        return 1
    with Node("bench") as node:
        folder = node.make_dir("www")
        write_image(folder / "1gib")
        with (folder / "1gib").open("rb") as begin, (folder / "10gib.raw").open("wb") as large:
            large.write(begin.read())
            large.truncate(10 << 30)
        convert: list[str | Path] = [
            "qemu-img",
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            folder / "10gib.raw",
            folder / "10gib",
        ]
        subprocess.run(convert, check=True)
        (folder / "guest").write_bytes(guest_image(Form.QCOW2).read_bytes())
        with source(node, folder) as served, Hyperd(node) as daemon:
            for name in ("1gib", "10gib", "guest"):
                daemon.create(image(name, f"{served}/{name}"))
                daemon.wait_phase("vi", name, "Ready", timeout=_PATIENCE)
            disks_of(daemon, "1gib")
            disks_of(daemon, "10gib")
            exports(daemon, node, folder / "1gib")
            snapshots(daemon, node.make_dir())
            node.remove_domains()
    return 0


if __name__ == "__main__":
    sys.exit(main())
