"""Copies of running guests' disks: see ``interface.Mirrors``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from hyperd.hypervisor.actions import mirrors
from hyperd.hypervisor.connection.connection import Connect
from hyperd.hypervisor.connection.lanes import Lanes
from hyperd.hypervisor.interface import Mirrors
from hyperd.hypervisor.state import Mirror
from hyperd.imagefile.handle import Handle

_SECONDS: Final = 20.0

Act = Callable[[str, str, Callable[[Connect], None]], Awaitable[None]]
"""A verb, the domain's uid, and what is to be called with a connection."""


class LibvirtMirrors(Mirrors):
    """By libvirt's block copies, each of which ends with its guest."""

    def __init__(self, act: Act, lanes: Lanes) -> None:
        self._act = act
        self._lanes = lanes

    async def begin(
        self, uid: str, serial: str, target: Handle, *, bytes_per_second: int, shallow: bool = False
    ) -> None:
        begin = partial(
            mirrors.begin,
            uid=uid,
            serial=serial,
            target=target,
            bytes_per_second=bytes_per_second,
            shallow=shallow,
        )
        await self._act("copy a disk of", uid, begin)

    async def state(self, uid: str, serial: str) -> Mirror | None:
        look = partial(mirrors.state, uid=uid, serial=serial)
        return await self._lanes.call(uid, f"look at the copy of a disk of domain {uid}", look, timeout=_SECONDS)

    async def end(self, uid: str, serial: str) -> None:
        await self._act("end the copy of a disk of", uid, partial(mirrors.end, uid=uid, serial=serial))

    async def take(self, uid: str, serial: str, target: Handle) -> None:
        await self._act("pivot a disk of", uid, partial(mirrors.take, uid=uid, serial=serial, target=target))
