"""Import of 1 GiB over HTTP against ``curl`` to a file plus ``sha256sum``, and the memory it takes.

Both sides fetch the same file from the same server; the import also checks it and pushes it to a registry.
Rounds alternate, so that a busy machine meets both; the medians are compared.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from benchmarks.report import report
from hyperd.settings import ImportSettings, Settings
from registry.cache import ImageCache
from registry.client import RegistryClient
from registry.importer import Importer
from registry.models import ImportRequest
from registry.server import EmbeddedRegistry

MIB = 1 << 20
SIZE = 1024 * MIB
ROUNDS = 3
TIME_GOAL = 1.25
MEMORY_GOAL_MIB = 64.0


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


async def unused() -> bool:
    """No disk is made of the image."""
    return True


@asynccontextmanager
async def source(folder: Path) -> AsyncIterator[int]:
    """The server in a process of its own; its port."""
    argv = [sys.executable, "-m", "benchmarks.imports", "serve", str(folder)]
    server = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield int(await server.stdout.readline())
    finally:
        server.kill()
        await server.wait()


def write_image(path: Path) -> str:
    """A raw image that does not compress; its sha256."""
    script = f"head -c {SIZE} /dev/urandom > {path} && sha256sum {path}"
    return subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout.split()[0]


def baseline(url: str, folder: Path) -> float:
    """Seconds of curl and sha256sum."""
    target = folder / "fetched"
    started = time.perf_counter()
    subprocess.run(["curl", "-sS", "--fail", "-o", target, url], check=True)
    subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def memory(key: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process, in MiB."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def forget_peak() -> None:
    """Start ``VmHWM`` anew."""
    Path("/proc/self/clear_refs").write_text("5")


async def measure(folder: Path) -> None:
    served = folder / "source"
    served.mkdir()
    sha256 = await asyncio.to_thread(write_image, served / "image")
    async with source(served) as port:
        settings = Settings(
            state_dir=folder / "state",
            run_dir=folder / "run",
            log_dir=folder / "log",
            imports=ImportSettings(allowed=(f"127.0.0.1/32:{port}",)),
        )
        url = f"http://127.0.0.1:{port}/image"
        server = EmbeddedRegistry(settings)
        client = RegistryClient(server.endpoint, settings)
        await server.start()
        try:
            importer, cache = Importer(settings, client), ImageCache(settings, client)
            await cache.clean()
            idle = memory("VmRSS")
            forget_peak()
            imports, baselines = [], []
            for number in range(ROUNDS):
                baselines.append(await asyncio.to_thread(baseline, url, folder))
                request = ImportRequest(f"u{number}", url, f"vi/bench/i{number}", f"u{number}", {"sha256": sha256})
                started = time.perf_counter()
                image = await importer.run(request)
                imports.append(time.perf_counter() - started)
                await cache.evict(image.layer_digest, unused)
            peak = memory("VmHWM")
        finally:
            await client.close()
            await server.stop()
    seconds, base = statistics.median(imports), statistics.median(baselines)
    report(
        "import.1GiB", seconds, "s", "curl + sha256sum", base, f"ratio <= {TIME_GOAL}", seconds <= TIME_GOAL * base
    )
    over = peak - idle
    report("import.memory", over, "MiB", goal=f"<= {MEMORY_GOAL_MIB:.0f} over idle", ok=over <= MEMORY_GOAL_MIB)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hvimport") as folder:
        asyncio.run(measure(Path(folder)))


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1:2] == ["serve"] else main()
