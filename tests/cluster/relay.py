"""Carries connections between a unix socket and a TCP port of loopback.

A node of the tests has a network of its own, but the machine's files: one relay outside and one inside, joined by
a socket file, make a port of the machine's loopback the same port of the node's, or the other way. Bytes pass as
they are, so TLS still ends where it should.

    python -m tests.cluster.relay unix:/path tcp:6443      # listens at the first, connects to the second
    python -m tests.cluster.relay fd:3 tcp:6443            # the same with a listening socket that it inherits

A socket stays in the network namespace that it was made in, so an inherited one needs no second relay.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

_BLOCK = 1 << 16


async def _connect(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    scheme, _, where = target.partition(":")
    if scheme == "unix":
        return await asyncio.open_unix_connection(where)
    return await asyncio.open_connection("127.0.0.1", int(where))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        # Whoever is at the other end must hear of it.
        writer.close()


async def serve(source: str, target: str) -> None:
    """Relay until cancelled; a target that refuses ends the connection, as it would have itself."""

    carrying: set[asyncio.Task[None] | None] = set()
    """Nothing else holds the tasks of connections; garbage collection would end them."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(task := asyncio.current_task())
        try:
            await joined(reader, writer)
        finally:
            carrying.discard(task)

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await _connect(target)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            for one in (writer, far_writer):
                one.close()

    scheme, _, where = source.partition(":")
    if scheme == "unix":
        Path(where).unlink(missing_ok=True)  # noqa: ASYNC240  before anything else runs
        server = await asyncio.start_unix_server(carry, where)
    elif scheme == "fd":
        server = await asyncio.start_server(carry, sock=socket.socket(fileno=int(where)))
    else:
        server = await asyncio.start_server(carry, "127.0.0.1", int(where))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
