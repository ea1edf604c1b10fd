"""The storage of claims: folders stand for what a cluster's storage would give, and any disk has its claim."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from hyperd.errors import TemporaryError
from hyperd.settings import Settings
from hyperd.storage.backends.claims.backend import ClaimBackend
from hyperd.storage.claims import Claim, Claims

TIB = 1 << 40


class FolderClaims(Claims):
    """The folder of a disk is its volume; a file beside it says what a claim would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.away = False
        """No Pod here has any of them."""
        self.capacity = TIB
        self.device: Path | None = None
        """The volume of the only claim, where that is a block device."""

    def get(self, uid: str) -> Claim | None:
        note = self.folder / f"{uid}.note"
        return Claim(
            f"claim-{uid}", self.device is not None, self.capacity, int(note.read_text()) if note.exists() else 0
        )

    def kept(self) -> Collection[str]:
        return [note.stem for note in self.folder.glob("*.note")]

    @asynccontextmanager
    async def place(self, uid: str) -> AsyncIterator[Path]:
        if self.away:
            raise TemporaryError(f"No Pod here has the claim claim-{uid} now.")
        if self.device is not None:
            yield self.device
            return
        volume = self.folder / uid
        volume.mkdir(parents=True, exist_ok=True)
        yield volume

    async def note(self, uid: str, size: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{uid}.note").write_text(str(size))

    def awaited(self, uid: str) -> str:
        return ""

    async def grow(self, uid: str, capacity: int) -> None:
        self.capacity = capacity

    async def delete(self, uid: str) -> None:
        shutil.rmtree(self.folder / uid, ignore_errors=True)
        (self.folder / f"{uid}.note").unlink(missing_ok=True)


class Claimed(ClaimBackend):
    """As a daemon has it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.claims = FolderClaims(settings.state_dir / "cluster")
        self.lead(self.claims)
