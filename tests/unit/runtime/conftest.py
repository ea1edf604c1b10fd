"""A real store for the runtime to work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from tests.contract.store.kinds import KINDS
from tests.loopguard import loop_guard, short_callbacks

__all__ = ["loop_guard", "short_callbacks", "store"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    settings = StoreSettings(watch_log_events=50)
    embedded = EmbeddedStore(tmp_path / "s.db", settings=settings, admit=None, kinds=KINDS, queue_limit=64)
    async with opened_store(embedded):
        yield embedded
