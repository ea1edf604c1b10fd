"""All volumes of this node, whatever backend has them.

New ones are made by the backend that their StorageClass names; others are found again by asking every backend, as
their class may be gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hyperd.errors import PermanentError
from hyperd.imagefile.handle import Handle
from hyperd.storage.interface import Backend, Usage, Volume


class Volumes:
    """Passes each call on to the backend that it concerns; see ``Provisioner`` and ``Attacher``."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = {backend.name: backend for backend in backends}

    def backend(self, provisioner: str) -> Backend:
        """By the name in a StorageClass; PermanentError for one that is none of this version's."""
        found = self._backends.get(provisioner)
        if found is None:
            raise PermanentError(
                f'No volumes are made by the provisioner "{provisioner}" in this version of hyperd; it has '
                f"{', '.join(sorted(self._backends))}.",
                key="ProvisioningFailed",
            )
        return found

    async def start(self) -> None:
        """At the daemon's start."""
        for backend in self._backends.values():
            await backend.start()

    async def find(self, uid: str) -> Volume | None:
        for backend in self._backends.values():
            if (volume := await backend.provisioner.find(uid)) is not None:
                return volume
        return None

    async def inventory(self) -> list[Volume]:
        return [volume for backend in self._backends.values() for volume in await backend.provisioner.inventory()]

    async def reads(self, image: Path) -> bool:
        for backend in self._backends.values():
            if await backend.provisioner.reads(image):
                return True
        return False

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        return await (await self._of(uid)).provisioner.grow(uid, size, in_use=in_use)

    async def delete(self, uid: str) -> None:
        """Detach the volume from this node and remove it."""
        for backend in self._backends.values():
            await backend.attacher.detach(uid)
            await backend.provisioner.delete(uid)

    async def attach(self, uid: str) -> Handle:
        return await (await self._of(uid)).attacher.attach(uid)

    async def detach(self, uid: str) -> None:
        for backend in self._backends.values():
            await backend.attacher.detach(uid)

    async def usage(self, uid: str) -> Usage:
        return await (await self._of(uid)).attacher.usage(uid)

    async def expand(self, uid: str, size: int) -> Handle | None:
        return await (await self._of(uid)).attacher.expand(uid, size)

    async def _of(self, uid: str) -> Backend:
        """The backend that has the volume, or the last one, which says that there is none."""
        *others, last = self._backends.values()
        for backend in others:
            if await backend.provisioner.find(uid) is not None:
                return backend
        return last
