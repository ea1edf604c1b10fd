"""The directory pool of disks (interface; being filled in)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperd.imagefile.detect import ImageFormat
from hyperd.settings import Settings


@dataclass(frozen=True)
class Volume:
    """One disk file; sizes in bytes. ``backing`` is the cached image it overlays."""

    uid: str
    path: Path
    virtual_size: int
    allocated: int
    backing: Path | None


class VolumePool:
    """qcow2 files ``<uid>.qcow2`` in ``settings.volumes_dir``. Every operation is idempotent."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def path(self, uid: str) -> Path:
        raise NotImplementedError

    async def clean(self) -> None:
        """At start: remove temporary files that a crash left."""
        raise NotImplementedError

    async def create_blank(self, uid: str, size: int) -> Volume:
        """TemporaryError without space; an existing volume is returned as it is."""
        raise NotImplementedError

    async def create_overlay(self, uid: str, *, base: Path, base_format: ImageFormat, size: int) -> Volume:
        raise NotImplementedError

    async def grow(self, uid: str, size: int) -> Volume:
        """Of a volume that no domain has open; PermanentError for a smaller size."""
        raise NotImplementedError

    async def find(self, uid: str) -> Volume | None:
        raise NotImplementedError

    async def delete(self, uid: str) -> None:
        raise NotImplementedError

    async def inventory(self) -> list[Volume]:
        raise NotImplementedError

    async def free_bytes(self) -> int:
        """What new volumes may still use: free space less ``settings.storage.reserve_bytes``."""
        raise NotImplementedError
