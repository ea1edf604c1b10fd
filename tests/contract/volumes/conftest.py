"""Each backend of the product, and one of the tests' own, over an empty folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from hyperd.settings import PoolKind, PoolSettings, Settings, StorageSettings
from hyperd.storage.backends import BACKENDS, POOLS
from hyperd.storage.interface import Backend
from tests.contract.volumes import loops, xfs
from tests.contract.volumes.claimed import Claimed
from tests.contract.volumes.rawfiles import RawFiles

Kind = Callable[[Settings], Backend]


@pytest.fixture(scope="session")
def shared_blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system that shares blocks."""
    with xfs.mounted(tmp_path_factory.mktemp("pool")) as folder:
        yield folder


@pytest.fixture
async def loop_disk(tmp_path: Path) -> AsyncIterator[Path]:
    """A disk that holds nothing."""
    with loops.disk(tmp_path / "disk.img") as disk:
        yield disk
        await _let_go(_made)


async def _let_go(backends: list[Backend]) -> None:
    while backends:
        backend = backends.pop()
        for volume in await backend.provisioner.inventory():
            await backend.attacher.detach(volume.uid)


def _pool(settings: Settings) -> Backend:
    (pool,) = settings.storage.pools
    made = POOLS[pool.kind](settings, pool)
    _made.append(made)
    return made


_made: list[Backend] = []
"""What may have devices open."""


@pytest.fixture(params=[*BACKENDS, *PoolKind, Claimed, RawFiles], ids=lambda kind: getattr(kind, "__name__", kind))
def kind(request: pytest.FixtureRequest) -> Kind:
    """To make another one over the same storage, as the next daemon does."""
    return _pool if isinstance(request.param, PoolKind) else request.param


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest, kind: Kind) -> Settings:
    if kind is not _pool:
        return Settings(state_dir=tmp_path / "state")
    of = request.node.callspec.params["kind"]
    if of is PoolKind.BLOCK:
        path = request.getfixturevalue("loop_disk")
    else:
        path = request.getfixturevalue("shared_blocks") / tmp_path.name
    pool = PoolSettings(name="fast", kind=of, path=path)
    storage = StorageSettings(pools=(pool,), reserve_bytes=0, overcommit_ratio=0)
    return Settings(state_dir=tmp_path / "state", storage=storage)


@pytest.fixture
async def backend(kind: Kind, settings: Settings) -> AsyncIterator[Backend]:
    made = kind(settings)
    await made.start()
    yield made
    if isinstance(made, Claimed):
        await _let_go([made])
