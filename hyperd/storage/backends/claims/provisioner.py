"""Makes disks in claims' volumes, on the node where a Pod has them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import ClassVar, Final

from hyperd import crashpoints
from hyperd.background import to_the_end
from hyperd.crashpoints import CrashPoint
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import copying, devices, erasing, files
from hyperd.imagefile.growth import Growth
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.imagefile.qemuimg import Layer, QemuImg
from hyperd.progress import Progress
from hyperd.resources.values.quantity import format_human, round_up
from hyperd.settings import Settings
from hyperd.storage.backends.claims import volume
from hyperd.storage.backends.claims.holding import Holding
from hyperd.storage.claims import CLAIMS, Claim
from hyperd.storage.interface import GROWING, Capability, Capacity, Provisioner, Volume, check_uid

_ANY: Final = 1 << 62
"""How much there may be is for the cluster's storage to say."""


class ClaimProvisioner(Provisioner):
    """Sizes are rounded up to whole MiB. A disk is there once its claim says so: before, it is made anew."""

    capabilities: ClassVar = frozenset({Capability.GROW_IN_USE, Capability.THIN})
    name = CLAIMS

    def __init__(self, settings: Settings, holding: Holding) -> None:
        self._holding = holding
        self._tools = QemuImg(settings)

    async def create_blank(self, uid: str, size: int) -> Volume:
        return await self._create(uid, _aligned(size), None)

    async def create_from_image(self, uid: str, size: int, *, image: Handle) -> Volume:
        if not isinstance(image, FileHandle):
            raise PermanentError(f"Volume {uid} cannot be made of {image}: the image must be a file of the node.")
        return await self._create(uid, _aligned(size), image)

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        """QEMU grows a file that it has open; one that is nowhere grows once it is attached."""
        size, claim = _aligned(size), await self._holding.require(uid)
        if size < claim.made:
            raise PermanentError(
                f"Volume {uid} has {claim.made} bytes and cannot shrink to {size}: its end would be lost."
            )
        if size > claim.made:
            if claim.capacity < size:
                await self._holding.claims.grow(uid, size)
                raise TemporaryError(
                    f"The claim {claim.name} has {format_human(claim.capacity)}, and is to have "
                    f"{format_human(size)}: the disk grows once it does.",
                    key=GROWING,
                )
            await self._holding.claims.note(uid, size)
        return await self._found(uid)

    async def delete(self, uid: str) -> None:
        """What is in the volume goes with it, by the word of its PersistentVolume."""
        check_uid(uid)
        await self._holding.detach(uid)
        await self._holding.claims.delete(uid)

    async def find(self, uid: str) -> Volume | None:
        return await self._holding.find(uid)

    async def inventory(self) -> list[Volume]:
        found = [await self._holding.find(uid) for uid in sorted(self._holding.claims.kept())]
        return [each for each in found if each is not None]

    async def reads(self, image: Path) -> bool:
        """A disk is whole by itself."""
        return False

    async def capacity(self) -> Capacity:
        return Capacity(_ANY, _ANY)

    async def _create(self, uid: str, size: int, image: FileHandle | None) -> Volume:
        if (found := await self._holding.find(uid)) is not None:
            return found
        claims, claim = self._holding.claims, self._holding.claims.get(uid)
        if claim is None:
            raise TemporaryError(f"The volume {uid} has no claim on this node.")
        if claim.capacity and claim.capacity < size:
            raise _too_small(claim, claim.capacity, size)
        async with claims.place(uid) as place:
            try:
                with files.full_disk_is_temporary(f"The disk in the claim {claim.name} cannot be made"):
                    if claim.block:
                        await claims.note(uid, await self._fill_device(claim, place, size, image))
                    else:
                        await self._fill_folder(uid, place, size, image)
            except OSError as err:
                raise volume.unusable(claim.name, err) from err
        return await self._found(uid)

    async def _fill_folder(self, uid: str, folder: Path, size: int, image: FileHandle | None) -> None:
        """A disk is noted before it has its name: one that has it is never made anew.

        So no data is lost where the store is an earlier one, or somebody has removed the note.
        """
        if kept := await to_the_end(volume.kept, folder, uid):
            await self._holding.claims.note(uid, kept)
            return
        await self._make_file(uid, folder, size, image)
        await self._holding.claims.note(uid, size)
        await to_the_end(volume.publish, folder, uid)

    async def _make_file(self, uid: str, folder: Path, size: int, image: FileHandle | None) -> None:
        made = await to_the_end(volume.begin, folder, uid)
        try:
            if image is not None:
                await self._unpack(image, made, size, folder)
            await to_the_end(os.truncate, made, size)
            await to_the_end(volume.finish, folder, made)
        except BaseException:
            await asyncio.to_thread(volume.discard, folder, uid, made)
            raise
        finally:
            os.close(made)

    async def _unpack(self, image: FileHandle, made: int, size: int, folder: Path) -> None:
        source = await to_the_end(os.open, image.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            growth = Growth(made, max_bytes=size, folder=folder, reserve=0, sparse=True)
            layer = Layer(source, image.format)
            await self._tools.flatten([layer], made, output=DiskFormat.RAW, growth=growth)
        finally:
            os.close(source)

    async def _fill_device(self, claim: Claim, device: Path, size: int, image: FileHandle | None) -> int:
        """All of the device is the disk: its size."""
        has = await asyncio.to_thread(_free_device, device)
        if has < size:
            raise _too_small(claim, has, size)
        await erasing.erase(device)
        if image is not None:
            await copying.copy_into(self._tools, [image], device, report=_unheard)
        crashpoints.reached(CrashPoint.DISK_AFTER_FILE)
        return has

    async def _found(self, uid: str) -> Volume:
        found = await self._holding.find(uid)
        if found is None:
            raise TemporaryError(f"The volume {uid} was made, and its claim is gone.")
        return found


def _too_small(claim: Claim, has: int, size: int) -> PermanentError:
    return PermanentError(
        f"The claim {claim.name} has {format_human(has)}; the disk needs {format_human(size)}.",
        key="ProvisioningFailed",
    )


def _free_device(device: Path) -> int:
    """The size of a device that nobody else has. Blocking. Raises OSError."""
    descriptor = os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    try:
        return devices.size(descriptor)
    finally:
        os.close(descriptor)


def _unheard(progress: Progress) -> None:
    """Where nobody asks how far it is."""


def _aligned(size: int) -> int:
    if size <= 0:
        raise PermanentError(f"A volume of {size} bytes cannot be made; its size must be positive.")
    return round_up(size)
