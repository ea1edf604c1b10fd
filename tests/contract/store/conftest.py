"""Fixtures of the contract: ``home`` is each implementation in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.store.interface import Store
from tests.contract.store.homes import EmbeddedHome, running


@pytest.fixture(params=["embedded"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedHome]:
    async with running(EmbeddedHome(tmp_path)) as started:
        yield started


@pytest.fixture
def store(home: EmbeddedHome) -> Store:
    return home.store
