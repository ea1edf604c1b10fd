"""The compiled programs, once for a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperd.launcher.build import build


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """Where every user can run them, as pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="hv-programs-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        build(folder)
        yield folder
