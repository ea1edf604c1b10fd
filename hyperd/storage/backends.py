"""Every kind of storage: the one list that names them."""

from __future__ import annotations

from hyperd.settings import Settings
from hyperd.storage.directory.backend import DirectoryBackend
from hyperd.storage.interface import Backend

BACKENDS: tuple[type[Backend], ...] = (DirectoryBackend,)


def backends(settings: Settings) -> list[Backend]:
    """One of each."""
    return [backend(settings) for backend in BACKENDS]


def provisioners() -> list[str]:
    """What a StorageClass may name."""
    return [backend.name for backend in BACKENDS]
