"""Folders in memory: what these tests ask of a disk they ask of a file layer, and syncs in thousands are slow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.store.script import memory_folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In the place of pytest's own."""
    with memory_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def module_path() -> Iterator[Path]:
    """One for all tests of a module."""
    with memory_folder() as folder:
        yield folder
