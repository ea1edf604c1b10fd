"""What one hostile user, and one hostile stranger, cost an innocent one: p99 of its GETs beside each of them.

The hostile ones have many connections and ask for all they are answered; the innocent one asks now and then.
Server, innocent and hostile ones are processes of their own, the hostile ones with less of the host than others.

Compared is with a fair neighbour: a user with one connection who asks for one object as fast as it is answered.
One loop serves one request at a time, and any neighbour who is busy costs the wait for what is being served, as
well as processor time for its own process; only what hostility adds is unfair. "Alone" stands beside it.

Two things are measured for each thing that is shared. ``wall`` is what a user sees, in milliseconds, and on a busy
host mostly what the scheduler does: fair and hostile neighbour take turns in short rounds, so that both see the
same of it. ``cpu`` is how much CPU time the server's loop used between a question and its answer (``server.py``):
how much work of others a request waits for, whatever else the host does. That one is judged.

``python -m benchmarks.fairness [KIND ...]`` runs some of the kinds in ``attacks.py`` only.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from statistics import quantiles

from benchmarks.fairness.attacks import MAPS, STRANGER, USER
from benchmarks.report import report

_ROUNDS = 3
_ASKED = 150
_NEIGHBOUR = "a neighbour who asks one thing at a time"
_GOAL = "at most twice what it is beside the neighbour"
_FAIR = "fair"


class _Server:
    def __init__(self, process: Process, told: Mapping[str, str]) -> None:
        self._process = process
        self._told = told

    def told(self, user: str) -> bytes:
        """What a client of ``user`` reads."""
        token = self._told.get(user, "hyperd.eve.wrong")
        return json.dumps({**self._told, "token": token}).encode() + b"\n"

    async def used(self, spans: list[tuple[int, int]]) -> list[float]:
        """Milliseconds of the loop's CPU time in each."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(spans).encode() + b"\n")
        found: list[float] = json.loads(await self._process.stdout.readline())
        return found

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()


class _Times:
    """What an innocent user saw in some rounds."""

    def __init__(self) -> None:
        self._walls: list[float] = []
        self._used: list[float] = []

    async def ask(self, server: _Server, path: str) -> None:
        process = await _started("innocent", str(_ASKED), path)
        output, _ = await process.communicate(server.told("ann"))
        spans = json.loads(output)
        self._walls += [(end - start) / 1e6 for start, end in spans]
        self._used += await server.used(spans)

    async def ask_beside(self, server: _Server, path: str, kind: str, user: str) -> None:
        hostile = await _started("attacks", kind)
        assert hostile.stdin is not None
        assert hostile.stdout is not None
        hostile.stdin.write(server.told(user))
        try:
            if await hostile.stdout.readline() != b"ready\n":
                raise SystemExit(f"{kind} did not begin")
            await self.ask(server, path)
        finally:
            hostile.kill()
            await hostile.wait()

    @property
    def wall(self) -> float:
        return quantiles(self._walls, n=100)[98]

    @property
    def cpu(self) -> float:
        return quantiles(self._used, n=100)[98]


async def _started(module: str, *args: str) -> Process:
    command = (sys.executable, "-m", f"benchmarks.fairness.{module}", *args)
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 24)


async def _judge(server: _Server, kind: str, who: str, path: str, name: str) -> None:
    """Report how an innocent user fares beside ``who`` that does ``kind``."""
    fair, hostile = _Times(), _Times()
    for _ in range(_ROUNDS):
        await fair.ask_beside(server, path, _FAIR, "eve")
        await hostile.ask_beside(server, path, kind, who)
    report(f"fairness_wall_p99_{name}", hostile.wall, "ms", _NEIGHBOUR, fair.wall)
    ok = hostile.cpu <= 2 * fair.cpu
    report(f"fairness_cpu_p99_{name}", hostile.cpu, "ms", _NEIGHBOUR, fair.cpu, _GOAL, ok)


async def main(chosen: list[str]) -> None:
    folder = tempfile.mkdtemp(prefix="hvb")
    try:
        process = await _started("server", folder)
        assert process.stdout is not None
        server = _Server(process, json.loads(await process.stdout.readline()))
        try:
            one = f"{MAPS}/map-0"
            alone = _Times()
            await alone.ask(server, one)
            report("fairness_wall_p99_alone", alone.wall, "ms")
            report("fairness_cpu_p99_alone", alone.cpu, "ms")
            for who, kinds in (("eve", USER), ("stranger", STRANGER)):
                for kind in chosen or kinds:
                    if kind in kinds and kind != _FAIR:
                        await _judge(server, kind, who, one, f"beside_{kind}")
            for kind in ("gets", "logins", "health"):
                if not chosen or "probes" in chosen:
                    who = "eve" if kind == "gets" else "stranger"
                    await _judge(server, kind, who, "/healthz", f"of_a_health_probe_beside_{kind}")
        finally:
            await server.stop()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
