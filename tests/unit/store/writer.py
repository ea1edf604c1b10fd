"""A process that writes until it is killed; it names on stdout each write that was acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from tests.contract.store.kinds import CONFIG_MAPS, KINDS, config_map


async def run(path: Path, run_name: str) -> None:
    store = EmbeddedStore(path, settings=StoreSettings(watch_log_events=200), admit=None, kinds=KINDS)

    async def client(number: int) -> None:
        count = 0
        while True:
            name = f"{run_name}-{number}-{count}"
            item = await store.create(CONFIG_MAPS, "default", config_map(name, text="x" * 500))
            sys.stdout.write(f"{name} {item.resource_version}\n")
            sys.stdout.flush()
            count += 1

    async with opened_store(store):
        await asyncio.gather(*(client(number) for number in range(8)))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
