"""The embedded home alone: its store behind its API. Imports what it serves and nothing of its clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hyperd.api.serving.app import ApiServer
from hyperd.resources.all import KINDS
from hyperd.settings import ApiSettings, Settings
from hyperd.store.embedded.store import EmbeddedStore


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[tuple[Settings, EmbeddedStore]]:
    """Serve with all files in ``folder``; the store is for who writes without the API."""
    settings = Settings(state_dir=folder, run_dir=folder, log_dir=folder, api=ApiSettings(port=0))
    store = EmbeddedStore(settings.database_path, settings=settings.store, admit=None, kinds=KINDS)
    server = ApiServer(settings, store)
    await store.start()
    try:
        await server.start()
        yield settings, store
    finally:
        await server.stop()
        await store.close()
