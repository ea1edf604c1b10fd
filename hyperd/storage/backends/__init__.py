"""Every kind of storage, a folder each, and the one list that names them."""

from __future__ import annotations

from hyperd.settings import Settings
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.interface import Backend

BACKENDS: tuple[type[Backend], ...] = (
    DirectoryBackend,
)  # fmt: skip


def backends(settings: Settings) -> list[Backend]:
    """One of each."""
    return [backend(settings) for backend in BACKENDS]


def provisioners() -> list[str]:
    """What a StorageClass may name."""
    return [backend.name for backend in BACKENDS]
