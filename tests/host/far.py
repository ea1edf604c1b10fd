"""A registry as slow and as far away as is asked for; ``python -m tests.host.far PORT MBIT MS`` is the way there.

That listens on a free port of loopback, which it prints. What the registry sends shares one rate; what it is sent
is late by so many milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from tests.host.node import Node, NodeProcess

_PIECE = 64 << 10


class _Link:
    """One rate for all."""

    def __init__(self, mbit: float) -> None:
        self._rate = mbit * 1e6 / 8
        self._free_at = time.monotonic()

    async def take(self, count: int) -> None:
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + count / self._rate
        await asyncio.sleep(self._free_at - now)


async def _pump(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, link: _Link | None, late: float
) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            if link is not None:
                await link.take(len(piece))
            elif len(piece) < _PIECE:  # a request; what is pushed comes in larger pieces
                await asyncio.sleep(late)
            target.write(piece)
            await target.drain()
    with contextlib.suppress(OSError):
        target.close()


async def serve(port: int, mbit: float, milliseconds: float) -> None:
    """Until it is killed."""
    link = _Link(mbit)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            _pump(reader, far_writer, None, milliseconds / 1000), _pump(far_reader, writer, link, 0.0)
        )

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass(frozen=True)
class Far:
    """``url`` leads to the registry, through ``way``."""

    url: str
    way: NodeProcess


@contextmanager
def registry(node: Node, folder: Path, *, mbit: float, milliseconds: float, port: int = 5055) -> Iterator[Far]:
    """One of its own, whose content is in ``folder``."""
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        there = node.popen(["docker-registry", "serve", path], stdout=log, stderr=log)
    argv = [sys.executable, "-m", "tests.host.far", str(port), str(mbit), str(milliseconds)]
    way = node.popen(argv, stdout=PIPE)
    try:
        node.exec(["sh", "-c", f"until curl -sf http://127.0.0.1:{port}/v2/; do sleep 0.1; done"])
        assert way.stdout is not None
        yield Far(f"http://127.0.0.1:{int(way.stdout.readline())}", way)
    finally:
        for process in (way, there):
            process.kill()
            process.reap()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
