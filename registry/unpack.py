"""Takes an outer gz, xz, zst or bz2 off a stream on its way.

The decompressors are programs in the sandbox: a damaged or hostile stream meets nothing but two pipes, their
memory is bounded, and they use another core.
"""

from __future__ import annotations

import asyncio
from asyncio import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import sandbox
from hyperd.imagefile.detect import FAILED, Compression
from hyperd.settings import Settings
from registry.answers import BLOCK_BYTES
from registry.tasks import together

_ARGUMENTS = {
    Compression.GZIP: ["gzip", "-dc"],
    Compression.XZ: ["xz", "-dc", "--memlimit-decompress=256MiB", "--threads=1"],
    Compression.BZIP2: ["bzip2", "-dc"],
    Compression.ZSTD: ["zstd", "-dcq", "--memory=256MB"],
}
_LIMITS = sandbox.Limits(cpu_seconds=12 * 3600)
_GZIP_WARNS = 2
"""gzip's status when all was well but for bytes after the end, such as the zeros of a tape or a signature."""
_SAID_BYTES = 4096


@asynccontextmanager
async def unpacked(
    stream: AsyncIterator[bytes], kind: Compression, settings: Settings
) -> AsyncIterator[AsyncIterator[bytes]]:
    """``stream`` without its compression; PermanentError from the iterator when it is damaged or cut short.

    At the end all of ``stream`` has been read, whatever follows the compressed data in it.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *sandbox.confine(_ARGUMENTS[kind], settings=settings, limits=_LIMITS),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=sandbox.environment(),
            limit=BLOCK_BYTES,
            start_new_session=True,
        )
    except FileNotFoundError as err:
        raise TemporaryError(f"The program {err.filename} is not installed on this host.", key=FAILED) from None
    try:
        async with together() as group:
            feeder = group.create_task(_feed(stream, cast(asyncio.StreamWriter, process.stdin)))
            said = group.create_task(_said(cast(asyncio.StreamReader, process.stderr)))
            yield _drain(process, kind, said)
            await feeder
    finally:
        await sandbox.end(process)


async def _feed(stream: AsyncIterator[bytes], into: asyncio.StreamWriter) -> None:
    """A program that ends early says why by its status, not by the broken pipe; the rest is read all the same."""
    open_ = True
    async for block in stream:
        if open_:
            try:
                into.write(block)
                await into.drain()
            except (BrokenPipeError, ConnectionResetError):
                open_ = False
    with suppress(BrokenPipeError, ConnectionResetError):
        into.close()
        await into.wait_closed()


async def _said(stream: asyncio.StreamReader) -> bytes:
    """The end of what the program complains of."""
    kept = bytearray()
    while piece := await stream.read(_SAID_BYTES):
        kept += piece
        del kept[:-_SAID_BYTES]
    return bytes(kept)


async def _drain(
    process: subprocess.Process, kind: Compression, said: asyncio.Task[bytes]
) -> AsyncIterator[bytes]:
    stdout = cast(asyncio.StreamReader, process.stdout)
    pieces: list[bytes] = []
    held = 0
    while piece := await stdout.read(BLOCK_BYTES):
        pieces.append(piece)
        held += len(piece)
        if held >= BLOCK_BYTES:
            yield b"".join(pieces)
            pieces, held = [], 0
    if held:
        yield b"".join(pieces)
    status = await process.wait()
    if not status or (status == _GZIP_WARNS and kind is Compression.GZIP):
        return
    complaint = (await said).decode(errors="replace")
    if why := sandbox.not_confined(complaint):
        raise TemporaryError(f"Image tools cannot be confined on this node ({why}).", key=FAILED)
    if "emory" in complaint:
        raise PermanentError(
            f"The source's {kind} compression needs more than 256 MiB of memory to be undone; compress it with a "
            "smaller window or dictionary.",
            key=FAILED,
        )
    raise PermanentError(f"The source's {kind} compression is damaged or cut short.", key=FAILED)
