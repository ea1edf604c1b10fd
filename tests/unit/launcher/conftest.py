"""The compiled programs, once for a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperd.launcher.build import build


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    build(folder)
    return folder
