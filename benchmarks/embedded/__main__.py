"""``python -m benchmarks.embedded FOLDER``: serves until SIGTERM; prints the path of its kubeconfig."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from benchmarks.embedded import embedded
from hyperd.footprint import keep_small


async def serve(folder: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with embedded(folder) as (settings, _):
        print(settings.kubeconfig_path, flush=True)
        await ended.wait()


keep_small()
asyncio.run(serve(Path(sys.argv[1])))
