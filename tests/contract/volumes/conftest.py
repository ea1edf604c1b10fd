"""Each backend of the product, and one of the tests' own, over an empty folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperd.settings import PoolKind, PoolSettings, Settings, StorageSettings
from hyperd.storage.backends import BACKENDS, POOLS
from hyperd.storage.interface import Backend
from tests.contract.volumes import xfs
from tests.contract.volumes.rawfiles import RawFiles

Kind = Callable[[Settings], Backend]


@pytest.fixture(scope="session")
def shared_blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system that shares blocks."""
    with xfs.mounted(tmp_path_factory.mktemp("pool")) as folder:
        yield folder


def _pool(settings: Settings) -> Backend:
    (pool,) = settings.storage.pools
    return POOLS[pool.kind](settings, pool)


@pytest.fixture(params=[*BACKENDS, *PoolKind, RawFiles], ids=lambda kind: getattr(kind, "__name__", kind))
def kind(request: pytest.FixtureRequest) -> Kind:
    """To make another one over the same storage, as the next daemon does."""
    return _pool if isinstance(request.param, PoolKind) else request.param


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest, kind: Kind) -> Settings:
    if kind is not _pool:
        return Settings(state_dir=tmp_path / "state")
    folder = request.getfixturevalue("shared_blocks") / tmp_path.name
    pool = PoolSettings(name="fast", kind=PoolKind.REFLINK, path=folder)
    storage = StorageSettings(pools=(pool,), reserve_bytes=0, overcommit_ratio=0)
    return Settings(state_dir=tmp_path / "state", storage=storage)


@pytest.fixture
async def backend(kind: Kind, settings: Settings) -> Backend:
    made = kind(settings)
    await made.start()
    return made
