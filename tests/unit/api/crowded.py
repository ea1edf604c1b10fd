"""A server with few file descriptors, as a process of its own: ``crowded.py FOLDER DESCRIPTORS``.

Prints its TLS port once it serves, logs to standard error, and ends with standard input.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from pathlib import Path

from tests.unit.api.conftest import serving


async def main(folder: Path) -> None:
    async with serving(folder) as api:
        print(api.server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    count = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(main(Path(sys.argv[1])))
