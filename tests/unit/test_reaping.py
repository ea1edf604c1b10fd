"""A process that is killed while nobody reads what it writes."""

from __future__ import annotations

import asyncio
from asyncio import subprocess

import pytest

from hyperd.imagefile import sandbox

_LIMIT = 1024


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_what_nobody_reads_keeps_no_process_from_its_end(stream: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", "cat /dev/zero" if stream == "stdout" else "cat /dev/zero >&2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        limit=_LIMIT,
        start_new_session=True,
    )
    reader = process.stdout if stream == "stdout" else process.stderr
    assert reader is not None
    while len(reader._buffer) <= 2 * _LIMIT:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await sandbox.end(process)
    assert process.returncode == -9
