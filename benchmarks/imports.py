"""Import of 1 GiB over HTTP against ``curl`` to a file plus ``sha256sum``, and the memory it takes, on both homes.

Both sides fetch the same file from the same server; the import, from the POST of an image until it is Ready, also
checks it and pushes it to a registry. Rounds alternate, so that a busy machine meets both; medians are compared.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from benchmarks.kubernetes import control_plane
from benchmarks.report import beside, report
from tests.host.clustered import installed
from tests.host.node import Node
from tests.host.running import Hyperd, image

MIB = 1 << 20
SIZE = 1024 * MIB
ROUNDS = 3
TIME_GOAL = 1.25
MEMORY_GOAL_MIB = 64.0
_PATIENCE = 300.0


def serve(folder: str) -> None:
    """Serve ``folder`` on a free loopback port, which is printed."""

    async def run() -> None:
        app = web.Application()
        app.router.add_static("/", folder)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def source(node: Node, folder: Path) -> Iterator[str]:
    """URL of ``folder``, served by a process of its own in the node."""
    server = node.popen([sys.executable, "-m", "benchmarks.imports", "serve", folder], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.reap()


def write_image(path: Path) -> str:
    """A raw image that does not compress; its sha256."""
    script = f"head -c {SIZE} /dev/urandom > {path} && sha256sum {path}"
    return subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout.split()[0]


def baseline(node: Node, url: str, folder: Path) -> float:
    """Seconds of curl and sha256sum."""
    target = folder / "fetched"
    started = time.perf_counter()
    node.exec(["curl", "-sS", "--fail", "-o", target, url])
    node.exec(["sha256sum", target])
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def memory(daemon: Hyperd, key: str) -> float:
    """``VmRSS`` or ``VmHWM`` of the daemon, in MiB."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def forget_peak(daemon: Hyperd) -> None:
    """Start ``VmHWM`` anew."""
    Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")


class Figures(NamedTuple):
    """Of one home: seconds of an import and of the baseline beside it, MiB over idle at the peak."""

    seconds: float
    baseline: float
    over: float


def importing(node: Node, home: AbstractContextManager[Hyperd], url: str, sha256: str) -> Figures:
    """Import the same file over and over, in turns with the baseline."""
    imports, baselines = [], []
    with home as daemon:
        idle = memory(daemon, "VmRSS")
        forget_peak(daemon)
        for number in range(ROUNDS):
            baselines.append(baseline(node, url, daemon.dir))
            name = f"i{number}"
            started = time.perf_counter()
            daemon.create(image(name, url, checksum={"sha256": sha256}))
            daemon.wait_phase("vi", name, "Ready", timeout=_PATIENCE)
            imports.append(time.perf_counter() - started)
            daemon.delete("vi", name)
            daemon.wait_gone("vi", name)
        over = memory(daemon, "VmHWM") - idle
    return Figures(statistics.median(imports), statistics.median(baselines), over)


def judge(ours: Figures) -> None:
    """Report the embedded home's figures."""
    fast = ours.seconds <= TIME_GOAL * ours.baseline
    report("import.1GiB", ours.seconds, "s", "curl + sha256sum", ours.baseline, f"ratio <= {TIME_GOAL}", fast)
    small = ours.over <= MEMORY_GOAL_MIB
    report("import.memory", ours.over, "MiB", goal=f"<= {MEMORY_GOAL_MIB:.0f} over idle", ok=small)


def main() -> int:
    """Print a line for each figure."""
    if os.geteuid() != 0:
        print("benchmarks.imports needs root, for the daemon's namespaces.", file=sys.stderr)
        return 1
    with Node("bench") as node:
        folder = node.make_dir("www")
        sha256 = write_image(folder / "image")
        with source(node, folder) as served:
            url = f"{served}/image"
            ours = importing(node, Hyperd(node), url, sha256)
            judge(ours)
            with control_plane() as plane:
                theirs = importing(node, installed(node, plane), url, sha256)
    beside("import.1GiB", theirs.seconds, "s", ours.seconds)
    beside("import.memory", theirs.over, "MiB", ours.over)
    return 0


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1:2] == ["serve"] else sys.exit(main())
