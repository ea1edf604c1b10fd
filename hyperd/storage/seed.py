"""cloud-init NoCloud seeds (interface; being filled in)."""

from __future__ import annotations

from pathlib import Path

from hyperd.settings import Settings


class SeedStore:
    """One raw image ``<uid>.img`` per VM in ``settings.seeds_dir``: volume label cidata, read-only virtio disk."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def path(self, uid: str) -> Path:
        raise NotImplementedError

    async def write(self, uid: str, *, hostname: str, user_data: str) -> Path:
        """Create or replace the seed; the same input gives the same bytes."""
        raise NotImplementedError

    async def remove(self, uid: str) -> None:
        raise NotImplementedError

    async def inventory(self) -> list[str]:
        """The uids that have a seed."""
        raise NotImplementedError
