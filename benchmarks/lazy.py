"""Boot from an image in a registry that is far away: used at once, against one that is here, or fetched first.

The registry is behind a way of 200 Mbit/s and 20 ms. The image is a small guest's and half a gigabyte that does
not compress; a boot is counted from the POST of disk and machine until the guest's login. Rounds alternate, so
that a busy machine meets all; medians are compared.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.imports import source
from benchmarks.report import report
from tests.guest import Form
from tests.guest import image as guest_image
from tests.host.far import registry
from tests.host.node import Node, wait_until
from tests.host.running import Hyperd, Object, condition, disk, image, machine

ROUNDS = 2
GOAL = 1.3
SIZE = 512 << 20
MBIT, MILLISECONDS = 200.0, 20.0
_PATIENCE = 300.0
_LAZY = "virtualdisk.virtualization.deckhouse.io/lazy"


def write_image(path: Path) -> None:
    """A guest's disk with a gigabyte behind it, as qcow2."""
    raw = path.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", guest_image(Form.QCOW2), raw], check=True)
    with raw.open("ab") as file, open("/dev/urandom", "rb") as random:
        for _ in range(SIZE >> 20):
            file.write(random.read(1 << 20))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
    raw.unlink()


class Boots:
    """Of one daemon whose registry is far away."""

    def __init__(self, daemon: Hyperd) -> None:
        self._daemon = daemon
        self._number = 0

    def forget(self) -> None:
        """Have nothing of the image on the node."""
        folder = self._daemon.state_dir / "images"
        for path in folder.glob("*.qcow2"):
            path.unlink()
        wait_until(lambda: not list(folder.iterdir()), timeout=_PATIENCE, what="an empty cache")

    def boot(self, *, lazy: bool) -> float:
        """Seconds until the login of a new machine, which is gone again."""
        daemon, name = self._daemon, f"m{self._number}"
        self._number += 1
        wanted: Object = disk(name, image="guest")
        if not lazy:
            wanted["metadata"]["annotations"] = {_LAZY: "false"}
        started = time.perf_counter()
        daemon.create(wanted)
        daemon.create(machine(name, name, terminationGracePeriodSeconds=0))
        vm = daemon.wait_phase("vm", name, "Running", timeout=_PATIENCE)
        daemon.wait_console(vm, "login:")
        seconds = time.perf_counter() - started
        if lazy:
            daemon.wait("vd", name, lambda one: not condition(one, "ImageFetched"), timeout=_PATIENCE)
        daemon.delete("vm", name)
        daemon.delete("vd", name)
        daemon.wait_gone("vd", name)
        return seconds


def main() -> None:
    with Node() as node:
        node.ensure_libvirtd()
        folder = node.make_dir()
        write_image(folder / "guest.qcow2")
        kept = node.make_dir()
        with (
            source(node, folder) as url,
            registry(node, kept, mbit=MBIT, milliseconds=MILLISECONDS) as far,
            Hyperd(node, settings={"imports.lazy": "true", "registry.url": far.url}) as daemon,
        ):
            daemon.create(image("guest", f"{url}/guest.qcow2"))
            daemon.wait_phase("vi", "guest", "Ready", timeout=_PATIENCE)
            boots = Boots(daemon)
            here, far_away, first = [], [], []
            for _ in range(ROUNDS):
                boots.forget()
                far_away.append(boots.boot(lazy=True))
                here.append(boots.boot(lazy=True))
                boots.forget()
                first.append(boots.boot(lazy=False))
        node.remove_domains()
    lazily, local, eagerly = (statistics.median(one) for one in (far_away, here, first))
    ratio = lazily / local
    goal = f"<= {GOAL:g} times a local image's"
    report("lazy.boot", lazily, "s", "image on the node", local, goal=goal, ok=ratio <= GOAL)
    report("lazy.download_then_boot", eagerly, "s", "used at once", lazily)


if __name__ == "__main__":
    main()
