"""Makes volumes of a block pool: each has all of its space from the begin, and nothing of who had that before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from hyperd.background import to_the_end
from hyperd.errors import HyperdError, NotFound, PermanentError, TemporaryError
from hyperd.imagefile import copying, erasing
from hyperd.imagefile.handle import Handle
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.progress import Progress, Report
from hyperd.resources.values.quantity import format_human, round_up
from hyperd.settings import Settings
from hyperd.storage.asking import Asking
from hyperd.storage.backends.block.holding import held
from hyperd.storage.backends.block.pool import Pool
from hyperd.storage.backends.block.table import Part, Type
from hyperd.storage.interface import NO_ROOM, Capability, Capacity, Provisioner, Volume

_log = logging.getLogger(__name__)


class BlockProvisioner(Provisioner):
    """Sizes are rounded up to whole MiB. A volume lies in one piece, full of zeros before anything is written.

    So it takes as long to make one as the disk needs to write zeros: an SSD, which is told that all of it is
    unused, a moment, one without that command the time to write it.
    """

    capabilities: ClassVar = frozenset({Capability.CLONE, Capability.GROW_IN_USE, Capability.RECEIVE})

    def __init__(
        self, settings: Settings, pool: Pool, asking: Asking, *, name: str, is_attached: Callable[[str], bool]
    ) -> None:
        self._name = name
        self._pool = pool
        self._asking = asking
        self._is_attached = is_attached
        self._tools = QemuImg(settings)

    @property
    def name(self) -> str:
        return self._name

    async def create_blank(self, uid: str, size: int) -> Volume:
        async def nothing(device: Path) -> None:
            """Blank it is."""

        return await self._create(uid, _aligned(size), nothing)

    async def create_from_image(self, uid: str, size: int, *, image: Handle) -> Volume:
        return await self._copy(uid, size, [image], _unheard)

    async def clone(self, uid: str, *, source: str, op_uid: str) -> Volume:
        """The source is held: it is not removed before all of it is read."""
        await self._usable()
        async with held(lambda: self._pool.open(source)) as origin:
            return await self._copy(uid, origin.part.size, [origin.handle], _unheard)

    async def receive(
        self, uid: str, size: int, *, layers: Sequence[Handle], op_uid: str, report: Report
    ) -> Volume:
        if not layers:
            return await self.create_blank(uid, size)
        return await self._copy(uid, size, layers, report)

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        """Into what is free right behind it. One that nobody has open goes to where there is room, else."""
        size, part = _aligned(size), await self._require(uid)
        if size < part.size:
            raise PermanentError(
                f"Volume {uid} has {part.size} bytes and cannot shrink to {size}: its end would be lost."
            )
        if size == part.size:
            return self._volume(part)
        tail = await to_the_end(self._pool.tail, part, size)
        if tail is not None:
            return self._volume(await self._made(tail, erasing.erase, lambda: self._pool.join(part, tail)))
        if in_use or self._is_attached(uid):
            raise TemporaryError(
                f"Volume {uid} cannot grow to {format_human(size)} where it lies in the pool {self._pool.name}: "
                "another one begins right behind it. Stop its machine, and it goes to where there is room; or "
                "move the disk to another StorageClass.",
                key=NO_ROOM,
            )
        return self._volume(await self._moved(part, size))

    async def delete(self, uid: str) -> None:
        """The disk is told that the space is unused, if it has a command for that."""
        await self._usable()
        part = await asyncio.to_thread(self._pool.find, uid)
        if part is not None:
            await self._remove(await to_the_end(self._pool.retire, part))

    async def find(self, uid: str) -> Volume | None:
        await self._usable()
        part = await asyncio.to_thread(self._pool.find, uid)
        return None if part is None else self._volume(part)

    async def inventory(self) -> list[Volume]:
        """None while the pool cannot be used; ``find`` raises then, so that nothing is taken as lost."""
        if not await self._asking.usable():
            return []
        return [self._volume(part) for part in await asyncio.to_thread(self._pool.volumes)]

    async def reads(self, image: Path) -> bool:
        """A copy needs nothing of what it was made from."""
        return False

    async def capacity(self) -> Capacity:
        """A volume can have no more of it than lies in one piece."""
        await self._usable()
        return Capacity(*await asyncio.to_thread(self._pool.space))

    async def _usable(self) -> None:
        await self._asking.require()

    async def _require(self, uid: str) -> Part:
        await self._usable()
        part = await asyncio.to_thread(self._pool.find, uid)
        if part is None:
            raise NotFound(f"Volume {uid} does not exist.")
        return part

    async def _copy(self, uid: str, size: int, layers: Sequence[Handle], report: Report) -> Volume:
        async def fill(device: Path) -> None:
            await copying.copy_into(self._tools, layers, device, report=report)

        return await self._create(uid, _aligned(size), fill)

    async def _create(self, uid: str, size: int, fill: Callable[[Path], Awaitable[None]]) -> Volume:
        if (found := await self.find(uid)) is not None:
            return found
        return self._volume(await self._new(uid, size, fill, self._pool.publish))

    async def _new(
        self, uid: str, size: int, fill: Callable[[Path], Awaitable[None]], publish: Callable[[Part], Part]
    ) -> Part:
        async def make(device: Path) -> None:
            await erasing.erase(device)
            await fill(device)

        part = await to_the_end(self._pool.allocate, uid, size)
        return await self._made(part, make, lambda: publish(part))

    async def _moved(self, part: Part, size: int) -> Part:
        """The volume, which nobody has open nor can open meanwhile, in a larger place."""
        async with held(lambda: self._pool.set_aside(part)) as former:

            async def fill(device: Path) -> None:
                await copying.copy_into(self._tools, [former.handle], device, report=_unheard)

            def publish(made: Part) -> Part:
                return self._pool.publish(made, instead=former)

            made = await self._new(part.name, size, fill, publish)
        await self._remove(replace(part, type=Type.UNFINISHED))
        return made

    async def _made(self, part: Part, fill: Callable[[Path], Awaitable[None]], finish: Callable[[], Part]) -> Part:
        """What ``finish`` makes of it once it is filled; its place is free again unless that is done."""
        try:
            async with held(lambda: self._pool.hold(part)) as place:
                await fill(place.path)
            return await to_the_end(finish)
        except BaseException:
            await to_the_end(self._pool.drop, part)
            raise

    async def _remove(self, part: Part) -> None:
        """Of one that is no volume any more. Whoever has its place next has it full of zeros anyway."""
        try:
            async with held(lambda: self._pool.hold(part)) as place:
                await erasing.discard(place.path, part.size)
        except HyperdError as err:
            _log.info("%s", err.message)
        await to_the_end(self._pool.drop, part)

    def _volume(self, part: Part) -> Volume:
        return Volume(part.name, self.name, part.size, part.size)


def _unheard(progress: Progress) -> None:
    """Where nobody asks how far it is."""


def _aligned(size: int) -> int:
    if size <= 0:
        raise PermanentError(f"A volume of {size} bytes cannot be made; its size must be positive.")
    return round_up(size)
