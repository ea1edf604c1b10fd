"""The end of a process whose output nobody reads any more."""

from __future__ import annotations

import asyncio
from asyncio import subprocess
from contextlib import suppress
from typing import Final

_PIECE: Final = 64 << 10


async def reap(process: subprocess.Process) -> None:
    """Wait for a killed process, whatever it has written.

    asyncio tells of an end only once all pipes are at theirs (until Python 3.13, python/cpython#119710), and reads
    no pipe on of which more than a reader's limit waits: such a process would be waited for for ever.
    """
    await asyncio.gather(*(_discard(pipe) for pipe in (process.stdout, process.stderr) if pipe is not None))
    await process.wait()


async def _discard(pipe: asyncio.StreamReader) -> None:
    with suppress(RuntimeError, OSError):  # somebody else reads it to its end, or it broke
        while await pipe.read(_PIECE):
            pass
