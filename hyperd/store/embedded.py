"""The embedded home: the Store over SQLite, for one machine."""

from __future__ import annotations

from pathlib import Path

from hyperd.resources.kind import Registry
from hyperd.settings import StoreSettings
from hyperd.store.interface import Admit


class EmbeddedStore:
    """``Store`` and ``Reader`` in one process, durable in one file. ``start`` before use, ``close`` at the end."""

    def __init__(self, path: Path, *, settings: StoreSettings, admit: Admit | None, kinds: Registry) -> None:
        """``admit`` may be None (all is admitted) and may be set later through ``admit``."""
        self.path = path
        self.settings = settings
        self.admit = admit
        self.kinds = kinds
