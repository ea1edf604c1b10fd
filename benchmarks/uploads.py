"""Upload of 1 GiB, by curl to the one-time address and by ``hv upload``, against ``curl`` and ``sha256sum``.

Both ways from the first byte until the object is Ready, checked and in the registry; the baseline fetches the same
file from a server beside it. Rounds alternate, so that a busy machine meets all; medians are compared.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

from benchmarks.imports import MEMORY_GOAL_MIB, TIME_GOAL, baseline, forget_peak, memory, source, write_image
from benchmarks.report import report
from tests.host.node import Node
from tests.host.running import Hyperd, Object

ROUNDS = 3
_PATIENCE = 300.0


def waiting(name: str, sha256: str) -> Object:
    """An image that waits for its upload."""
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualImage",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "storage": "ContainerRegistry",
            "dataSource": {"type": "Upload", "upload": {"checksum": {"sha256": sha256}}},
        },
    }


def upload(daemon: Hyperd, node: Node, name: str, path: Path, *, by: str) -> float:
    """Seconds of one upload; the object waits for it already."""
    obj = daemon.wait_phase("vi", name, "WaitForUserUpload")
    secret = obj["status"]["imageUploadURLs"]["external"].rpartition("/")[2]
    local = ["--unix-socket", daemon.socket, f"http://hv/upload/{secret}"]
    over_tls = ["--cacert", daemon.state_dir / "pki" / "ca.crt", obj["status"]["imageUploadURLs"]["external"]]
    curl: list[str | Path] = ["curl", "-sS", "--fail", "-T", path]
    hv = [sys.executable, "-m", "hyperd.cli.main", "upload", path, f"vi/{name}", "--socket", daemon.socket]
    argv = {"curl": [*curl, *local], "curl-tls": [*curl, *over_tls], "hv": hv}[by]
    started = time.perf_counter()
    node.exec(argv, timeout=_PATIENCE)
    daemon.wait_phase("vi", name, "Ready", timeout=_PATIENCE)
    return time.perf_counter() - started


def main() -> int:
    """Print a line for each figure."""
    if os.geteuid() != 0:
        print("benchmarks.uploads needs root, for the daemon's namespaces.", file=sys.stderr)
        return 1
    ways = ("curl", "curl-tls", "hv")
    took: dict[str, list[float]] = {way: [] for way in (*ways, "baseline")}
    with Node("bench") as node:
        folder = node.make_dir("www")
        sha256 = write_image(folder / "image")
        with source(node, folder) as served, Hyperd(node) as daemon:
            idle = memory(daemon, "VmRSS")
            forget_peak(daemon)
            for number in range(ROUNDS):
                took["baseline"].append(baseline(node, f"{served}/image", daemon.dir))
                for way in ways:
                    name = f"{way}-{number}"
                    daemon.create(waiting(name, sha256))
                    took[way].append(upload(daemon, node, name, folder / "image", by=way))
                    daemon.delete("vi", name)
                    daemon.wait_gone("vi", name)
            over = memory(daemon, "VmHWM") - idle
    beside = statistics.median(took["baseline"])
    for way in ways:
        ours = statistics.median(took[way])
        goal = f"ratio <= {TIME_GOAL}"
        report(f"upload.1GiB.{way}", ours, "s", "curl + sha256sum", beside, goal, ours <= TIME_GOAL * beside)
    report("upload.memory", over, "MiB", goal=f"<= {MEMORY_GOAL_MIB:.0f} over idle", ok=over <= MEMORY_GOAL_MIB)
    return 0


if __name__ == "__main__":
    sys.exit(main())
