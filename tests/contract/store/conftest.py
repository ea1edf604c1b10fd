"""Fixtures of the contract: ``home`` is each implementation in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.store.interface import Store
from tests.contract.store.homes import EmbeddedHome, Home, KubernetesHome, running


@pytest.fixture(params=["embedded", pytest.param("kubernetes", marks=pytest.mark.cluster)])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    if request.param == "embedded":
        async with running(EmbeddedHome(tmp_path)) as started:
            yield started
    else:
        async with running(KubernetesHome(request.getfixturevalue("cluster"))) as started:
            await started.empty()
            yield started


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedHome]:
    """The embedded home alone, for what only its own process can be asked."""
    async with running(EmbeddedHome(tmp_path)) as started:
        yield started


@pytest.fixture
def store(home: Home) -> Store:
    return home.store
