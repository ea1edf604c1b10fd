"""Each backend of the product, and one of the tests' own, over an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperd.settings import Settings
from hyperd.storage.backends import BACKENDS
from hyperd.storage.interface import Backend
from tests.contract.volumes.rawfiles import RawFiles


@pytest.fixture(params=[*BACKENDS, RawFiles])
def kind(request: pytest.FixtureRequest) -> type[Backend]:
    """To make another one over the same storage, as the next daemon does."""
    found: type[Backend] = request.param
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
async def backend(kind: type[Backend], settings: Settings) -> Backend:
    made = kind(settings)
    await made.start()
    return made
