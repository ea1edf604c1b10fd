"""``python -m registry.lazy CONFIG``, which the daemon starts."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path

from registry.lazy.server import main


async def _until_told(config: Path) -> None:
    task = asyncio.create_task(main(config), name="server")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
asyncio.run(_until_told(Path(sys.argv[1])))
