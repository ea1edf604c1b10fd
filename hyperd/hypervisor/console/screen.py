"""The screen that a console's past left, to be put before somebody who comes to it now.

The past itself is never sent: a terminal would answer the questions in it (where is the cursor, who are you), and
the answers would be typed into a guest whose program waits for something else.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from contextlib import suppress
from dataclasses import dataclass

from hyperd.reaping import reap
from hyperd.terminalbytes import LONGEST_LINE

log = logging.getLogger(__name__)

_SECONDS = 5.0
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|\Z)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]"
)
_INVISIBLE = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


@dataclass(frozen=True)
class Size:
    """Of the terminal that is drawn for, in cells."""

    columns: int = 80
    rows: int = 24

    @staticmethod
    def bounded(columns: int, rows: int) -> Size:
        """What a client says of itself, within reason; 0 is what serial lines have."""
        return Size(
            min(max(columns, 20), LONGEST_LINE) if columns else Size.columns,
            min(max(rows, 4), 256) if rows else Size.rows,
        )


USUAL_SIZE = Size()


async def redraw(past: bytes, size: Size, limit: int) -> bytes:
    """Bytes that draw what ``past`` left on a terminal of ``size``, about ``limit`` of them at most."""
    if not past or limit <= 0:
        return b""
    argv = [sys.executable, "-I", "-m", __name__.replace("screen", "redraw")]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *argv, str(size.columns), str(size.rows), str(limit),
        stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    try:
        async with asyncio.timeout(_SECONDS):
            drawn, _ = await process.communicate(past)
    except TimeoutError:
        drawn = b""
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await reap(process)
    if process.returncode == 0:
        return drawn
    log.warning("What a console said before could not be drawn (%s); it is shown as text.", process.returncode)
    return plain(past)[-limit:]


def plain(past: bytes) -> bytes:
    """The characters of ``past`` alone."""
    text = _SEQUENCE.sub("", past.decode("utf-8", "replace")).replace("\r\n", "\n").replace("\r", "\n")
    return text.translate(_INVISIBLE).replace("\n", "\r\n").encode()
