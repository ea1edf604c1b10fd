"""A way to a server that is as slow and as far as is asked for: ``python -m benchmarks.shaped PORT MBIT MS``.

It listens on a free port of loopback, which it prints. What the server sends shares one rate; what it is sent is
late by so many milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE

from tests.host.node import Node

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


@contextmanager
def shaped(node: Node, port: int, *, mbit: float, milliseconds: float) -> Iterator[int]:
    """The port of such a way to ``port``, both of the node's loopback."""
    argv = [sys.executable, "-m", "benchmarks.shaped", str(port), str(mbit), str(milliseconds)]
    process = node.popen(argv, stdout=PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.reap()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
