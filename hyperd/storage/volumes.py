"""The volumes of several backends as one: each call goes to the backend that it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hyperd.errors import PermanentError
from hyperd.imagefile.handle import Handle
from hyperd.storage.interface import Backend, Provisioner, Usage, Volume, Volumes


class BackendVolumes(Volumes):
    """A volume is found again by asking every backend."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = {backend.name: backend for backend in backends}

    @property
    def provisioners(self) -> list[str]:
        return list(self._backends)

    def provisioner(self, name: str) -> Provisioner:
        found = self._backends.get(name)
        if found is None:
            raise PermanentError(
                f'No volumes are made by the provisioner "{name}" in this version of hyperd; it has '
                f"{', '.join(sorted(self._backends))}.",
                key="ProvisioningFailed",
            )
        return found.provisioner

    async def start(self) -> None:
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
