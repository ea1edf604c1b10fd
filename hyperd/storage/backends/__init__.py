"""Every kind of storage, a folder each, and the one list that names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from hyperd.settings import PoolKind, PoolSettings, Settings
from hyperd.storage.backends.block.backend import BlockBackend
from hyperd.storage.backends.claims.backend import ClaimBackend
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.backends.reflink.backend import ReflinkBackend
from hyperd.storage.interface import Backend
from hyperd.storage.volumes import ClaimingBackend

BACKENDS: tuple[Callable[[Settings], Backend], ...] = (
    DirectoryBackend,
)  # fmt: skip
"""Of those that every node has one of."""
POOLS: Final[Mapping[PoolKind, Callable[[Settings, PoolSettings], Backend]]] = {
    PoolKind.REFLINK: ReflinkBackend,
    PoolKind.BLOCK: BlockBackend,
}
"""Of those that an administrator adds, as many as are wanted."""


def backends(settings: Settings) -> list[Backend]:
    """One of each, and one for each pool of the settings."""
    own = [backend(settings) for backend in BACKENDS]
    return own + [POOLS[pool.kind](settings, pool) for pool in settings.storage.pools]


def provisioners(settings: Settings) -> list[str]:
    """What a StorageClass may name."""
    return [backend.name for backend in backends(settings)]


def claiming(settings: Settings) -> ClaimingBackend | None:
    """That of all other provisioners, where machines have Pods by which their volumes come to a node."""
    return ClaimBackend(settings) if settings.claims else None
