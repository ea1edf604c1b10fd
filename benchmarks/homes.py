"""The embedded home against kube-apiserver over etcd: create, list, watch, and the memory that they take.

The same requests go to both over TLS with a client certificate, in turns; each home is a process of its own (etcd
one more). Both judge by the same schemas and cross-field rules, and neither asks a webhook. etcd runs without
fsync and the embedded store with it, so what differs in durability is to the baseline's advantage.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import orjson

from benchmarks.api import machine
from benchmarks.kubernetes import control_plane
from benchmarks.report import report
from hyperd.client import kubeconfig, tls
from hyperd.resources.all import VIRTUAL_MACHINE

MACHINES = 1000
CLIENTS = 16
ROUNDS = 4
"""Creates and lists alternate between the homes so often."""
LISTS = 5
WATCHERS = 50
EVENTS_PER_SECOND = 100
WATCH_SECONDS = 4
_VMS = f"/apis/{VIRTUAL_MACHINE.api_version}/namespaces/default/virtualmachines"
_BASELINE = "kube-apiserver and etcd"


class Home:
    """One home as its clients see it."""

    def __init__(self, session: aiohttp.ClientSession, pids: tuple[int, ...]) -> None:
        self._session = session
        self._pids = pids

    async def create(self, first: int, count: int) -> float:
        """Machines a second, created by ``CLIENTS`` at once."""
        numbers = iter(range(first, first + count))

        async def client() -> None:
            for number in numbers:
                async with self._session.post(_VMS, json=machine(f"vm-{number:04}")) as answer:
                    assert answer.status == 201, await answer.text()

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return count / (time.perf_counter() - start)

    async def lists(self) -> list[float]:
        """Milliseconds of each list of all machines."""
        times = []
        for _ in range(LISTS):
            start = time.perf_counter()
            async with self._session.get(_VMS) as answer:
                assert answer.status == 200
                await answer.read()
            times.append((time.perf_counter() - start) * 1000)
        return times

    async def watch(self) -> tuple[int, list[float]]:
        """Events lost, and milliseconds from before each change until each watcher had it."""
        expected = EVENTS_PER_SECOND * WATCH_SECONDS
        sent: dict[str, float] = {}
        delays: list[float] = []
        ready = asyncio.Barrier(WATCHERS + 1)
        async with self._session.get(_VMS, params={"limit": "1"}) as answer:
            version = orjson.loads(await answer.read())["metadata"]["resourceVersion"]
        query = {"watch": "true", "fieldSelector": "metadata.name=vm-0000", "resourceVersion": version}

        async def watcher() -> None:
            async with self._session.get(_VMS, params=query) as answer:
                await ready.wait()
                seen = 0
                async for line in answer.content:
                    now = time.perf_counter()
                    delays.append((now - sent[line.split(b'"turn":"')[1].split(b'"')[0].decode()]) * 1000)
                    seen += 1
                    if seen == expected:
                        return

        tasks = [asyncio.create_task(watcher()) for _ in range(WATCHERS)]
        await ready.wait()
        start = time.perf_counter()
        headers = {"Content-Type": "application/merge-patch+json"}
        for number in range(expected):
            await asyncio.sleep(max(0.0, start + number / EVENTS_PER_SECOND - time.perf_counter()))
            sent[str(number)] = time.perf_counter()
            body = orjson.dumps({"metadata": {"labels": {"turn": str(number)}}})
            async with self._session.patch(f"{_VMS}/vm-0000", data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
        await asyncio.wait(tasks, timeout=20)
        for task in tasks:
            task.cancel()
        return expected * WATCHERS - len(delays), delays

    def memory(self) -> float:
        """MiB of resident memory of all its processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids)
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@asynccontextmanager
async def _reached(config: Path, pids: tuple[int, ...]) -> AsyncIterator[Home]:
    target = kubeconfig.load([str(config)]).home()
    connector = aiohttp.TCPConnector(ssl=tls.context(target), limit=0)
    async with aiohttp.ClientSession(
        f"https://{target.host}:{target.port}",
        connector=connector,
        json_serialize=lambda o: orjson.dumps(o).decode(),
    ) as session:
        yield Home(session, pids)


@asynccontextmanager
async def _embedded(folder: Path) -> AsyncIterator[Home]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.embedded", str(folder)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        config = (await process.stdout.readline()).decode().strip()
        async with _reached(Path(config), (process.pid,)) as home:
            yield home
    finally:
        process.terminate()
        await process.wait()


async def _both(ours: Home, theirs: Home, measure: Callable[[Home, int], Awaitable[list[float]]]) -> list[float]:
    """Medians of ``measure(home, round)`` of the two, in turns."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for home, into in zip((ours, theirs), found, strict=True):
            into += await measure(home, number)
    return [median(values) for values in found]


async def _compare(ours: Home, theirs: Home) -> None:
    share = MACHINES // ROUNDS

    async def created(home: Home, number: int) -> list[float]:
        return [await home.create(number * share, share)]

    fast, slow = await _both(ours, theirs, created)
    report("home_creates_per_second", fast, "1/s", _BASELINE, slow, "more than the baseline", fast > slow)
    fast, slow = await _both(ours, theirs, lambda home, _: home.lists())
    report("home_list_1000_vms", fast, "ms", _BASELINE, slow, "less than the baseline", fast < slow)
    (lost, delays), (_, others) = await ours.watch(), await theirs.watch()
    report("home_watch_events_lost", lost, "events", goal="none", ok=lost == 0)
    fast, slow = quantiles(delays, n=100)[98], quantiles(others, n=100)[98]
    report("home_watch_delay_p99", fast, "ms", _BASELINE, slow, "less than the baseline", fast < slow)
    small, large = ours.memory(), theirs.memory()
    report("home_memory", small, "MiB", _BASELINE, large, "a tenth of the baseline", small * 10 <= large)


async def main() -> None:
    """Print a line for each figure."""
    folder = Path(tempfile.mkdtemp(prefix="hvb"))
    try:
        with control_plane() as plane:
            async with _embedded(folder) as ours, _reached(plane.kubeconfig, plane.pids) as theirs:
                await _compare(ours, theirs)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
