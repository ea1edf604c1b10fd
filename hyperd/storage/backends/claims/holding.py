"""Which disks of claims are shown to guests of this node, and where."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from hyperd.background import to_the_end
from hyperd.errors import NotFound, TemporaryError
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle
from hyperd.storage.backends.claims import volume
from hyperd.storage.claims import CLAIMS, Claim, Claims
from hyperd.storage.interface import Volume, check_uid

_AWAY = "The claims of this node are not known yet."


class _Unknown(Claims):
    """Before anybody can be asked."""

    def get(self, uid: str) -> Claim | None:
        raise TemporaryError(_AWAY)

    def kept(self) -> Collection[str]:
        return ()

    def place(self, uid: str) -> AbstractAsyncContextManager[Path]:
        raise TemporaryError(_AWAY)

    def awaited(self, uid: str) -> str:
        return _AWAY

    async def note(self, uid: str, size: int) -> None:
        raise TemporaryError(_AWAY)

    async def grow(self, uid: str, capacity: int) -> None:
        raise TemporaryError(_AWAY)

    async def delete(self, uid: str) -> None:
        raise TemporaryError(_AWAY)


class Holding:
    """What provisioner and attacher share."""

    def __init__(self, folder: Path) -> None:
        self.claims: Claims = _Unknown()
        self._folder = folder
        self._attached: set[str] = set()
        self._readers: Counter[str] = Counter()

    def target(self, uid: str) -> Path:
        """Where the disk is shown. ValueError for what is no uid."""
        return self._folder / f"{check_uid(uid)}.img"

    async def find(self, uid: str) -> Volume | None:
        """By what its claim says, and by the file itself while that is shown."""
        target, claim = self.target(uid), self.claims.get(uid)
        if claim is None or not claim.made:
            return None
        if claim.block:
            return Volume(uid, CLAIMS, claim.made, claim.made)
        found = await asyncio.to_thread(volume.shown, target)
        if found is None:
            return Volume(uid, CLAIMS, claim.made, 0)
        return Volume(uid, CLAIMS, max(found.st_size, 1), found.st_blocks * 512)

    async def require(self, uid: str) -> Claim:
        """The claim of a volume that is there. Raises NotFound."""
        check_uid(uid)
        claim = self.claims.get(uid)
        if claim is None or not claim.made:
            raise NotFound(f"Volume {uid} does not exist.")
        return claim

    async def handle(self, uid: str) -> FileHandle | BlockHandle:
        """Of the disk that is shown, or of a device, which needs no showing."""
        claim = await self.require(uid)
        if not claim.block:
            return FileHandle(self.target(uid), DiskFormat.RAW)
        async with self.claims.place(uid) as device:
            return BlockHandle(device, DiskFormat.RAW)

    async def attach(self, uid: str) -> FileHandle | BlockHandle:
        """Show the disk; TemporaryError while no Pod here has its volume."""
        await self._show(uid)
        self._attached.add(uid)
        return await self.handle(uid)

    async def detach(self, uid: str) -> None:
        """Show it no more, unless it is being read."""
        self._attached.discard(uid)
        if not self._readers[check_uid(uid)]:
            await to_the_end(volume.unbind, self.target(uid))

    async def begin_reading(self, uid: str) -> bool:
        """Show the disk until ``end_reading``, which is to be given the answer."""
        had = await asyncio.to_thread(volume.shown, self.target(uid)) is not None
        if not had:
            await self._show(uid)
        else:
            await self.require(uid)
        self._readers[uid] += 1
        return had

    async def end_reading(self, uid: str, had: bool) -> None:
        self._readers[uid] -= 1
        if not (had or self._readers[uid] or uid in self._attached):
            await to_the_end(volume.unbind, self.target(uid))

    async def _show(self, uid: str) -> None:
        claim = await self.require(uid)
        if claim.block:
            return
        async with self.claims.place(uid) as folder:
            try:
                await to_the_end(_show, folder, uid, self.target(uid), claim.made)
            except OSError as err:
                raise volume.unusable(claim.name, err) from err


def _show(folder: Path, uid: str, target: Path, size: int) -> None:
    with volume.disk(folder, uid) as fd:
        # It was to grow while it was nowhere.
        if os.fstat(fd).st_size < size:
            os.truncate(fd, size)
            os.fsync(fd)
        volume.bind(fd, target)
