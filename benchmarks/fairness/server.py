"""The server that is measured, in a process of its own, and its loop's CPU time between a question and its answer.

``python -m benchmarks.fairness.server FOLDER`` prints where it serves, as one line of JSON. Each line that it then
reads is a list of [start, end] in nanoseconds of the monotonic clock; it answers with the milliseconds of CPU time
that the loop's thread used between these: what an innocent request waits for, its own work included, whatever else
the host does meanwhile. It ends when the answer is written: how long the host lets its reader wait to see it is
not the server's doing. Callbacks of the loop are the grain; within one, time is taken as used evenly.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from asyncio import events
from bisect import bisect_right
from pathlib import Path
from typing import Any

from aiohttp.web_protocol import RequestHandler

from benchmarks.embedded import embedded
from hyperd.api.access.tokens import Grant, Tokens
from hyperd.footprint import keep_small, settle
from hyperd.resources.all import CONFIG_MAP, NAMESPACE
from hyperd.roles import Role
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import BY_SYSTEM

FEW = 50
MANY = 1000
_FAR = 4e9


class Probe:
    """Notes when each callback of the loop begins, and how much CPU time its thread had used then."""

    innocent = b"\n"
    """The token of who is measured; until it is there, nobody's."""

    def __init__(self) -> None:
        self._at: list[int] = []
        self._used: list[int] = []
        self._answered: list[int] = []

    def install(self) -> None:
        """From now on, for all callbacks of this process."""
        run = events.Handle._run

        def noted(handle: events.Handle) -> None:
            self._at.append(time.monotonic_ns())
            self._used.append(time.thread_time_ns())
            run(handle)

        setattr(events.Handle, "_run", noted)  # noqa: B010  a method is not to be assigned to
        received, measured = RequestHandler.data_received, set[int]()

        def asked(handler: RequestHandler, data: bytes) -> None:
            (measured.add if self.innocent in data else measured.discard)(id(handler))
            received(handler, data)

        setattr(RequestHandler, "data_received", asked)  # noqa: B010
        finish = RequestHandler.finish_response

        async def answered(handler: RequestHandler, *args: Any) -> Any:
            found = await finish(handler, *args)
            if id(handler) in measured:
                self._answered.append(time.monotonic_ns())
            return found

        setattr(RequestHandler, "finish_response", answered)  # noqa: B010

    def between(self, spans: list[tuple[int, int]]) -> list[float]:
        """Milliseconds of CPU time in each span; what was noted is forgotten."""
        found = [(self._at_time(self._written(start, end)) - self._at_time(start)) / 1e6 for start, end in spans]
        self._answered.clear()
        self._at.clear()
        self._used.clear()
        return found

    def _written(self, start: int, end: int) -> int:
        """When the answer that was there at ``end`` had been written."""
        index = bisect_right(self._answered, end) - 1
        return self._answered[index] if index >= 0 and self._answered[index] >= start else end

    def _at_time(self, moment: int) -> float:
        index = bisect_right(self._at, moment)
        if index in (0, len(self._at)):
            return float(self._used[0 if index == 0 else -1])
        before, after = self._at[index - 1], self._at[index]
        used = self._used[index] - self._used[index - 1]
        return self._used[index - 1] + min(used, used * (moment - before) / max(1, after - before))


async def _fill(store: EmbeddedStore) -> dict[str, str]:
    """Objects to ask for, and the tokens of two editors."""
    await store.create(NAMESPACE, "", {"metadata": {"name": "many"}})
    for namespace, count in (("default", FEW), ("many", MANY)):
        for number in range(count):
            made = {
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {"name": f"map-{number}"},
                "data": {"pad": "x" * 1000},
            }
            await store.create(CONFIG_MAP, namespace, made)
    tokens = Tokens(store)
    return {
        name: (await tokens.create(name, Grant(Role.EDITOR, (), _FAR), write=BY_SYSTEM))[0]
        for name in ("eve", "ann")
    }


async def _serve(folder: Path) -> None:
    ended, probe = asyncio.Event(), Probe()
    probe.install()

    def asked() -> None:
        line = sys.stdin.readline()
        if line:
            print(json.dumps(probe.between(json.loads(line))), flush=True)
        else:
            ended.set()

    async with embedded(folder) as (settings, store):
        told = {"socket": str(settings.socket_path), "kubeconfig": str(settings.kubeconfig_path)}
        tokens = await _fill(store)
        told |= tokens
        probe.innocent = tokens["ann"].encode()
        settle()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), asked)
        print(json.dumps(told), flush=True)
        await ended.wait()


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    keep_small()
    asyncio.run(_serve(Path(sys.argv[1])))
