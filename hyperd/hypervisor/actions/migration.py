"""Guests that go to another node: see ``interface.Migrations``."""

from __future__ import annotations

from functools import partial
from typing import Final

from hyperd.hypervisor.actions import migrating
from hyperd.hypervisor.connection.lanes import Lanes
from hyperd.hypervisor.interface import Migrations
from hyperd.hypervisor.state import Departure, Transfer

_SECONDS: Final = 20.0
_LONGEST_SECONDS: Final = 7 * 24 * 3600.0
"""Who asks ends it before."""


class LibvirtMigrations(Migrations):
    """By libvirt's migration from peer to peer."""

    def __init__(self, lanes: Lanes, instance: str) -> None:
        self._lanes = lanes
        self._instance = instance

    async def send(self, uid: str, departure: Departure) -> None:
        send = partial(migrating.send, uid=uid, departure=departure, instance=self._instance)
        await self._lanes.call(f"{uid} migration", f"migrate domain {uid}", send, timeout=_LONGEST_SECONDS)

    async def progress(self, uid: str) -> Transfer | None:
        look = partial(migrating.progress, uid=uid)
        return await self._lanes.call(
            f"{uid} progress", f"look at the migration of domain {uid}", look, timeout=_SECONDS
        )

    async def abort(self, uid: str) -> None:
        abort = partial(migrating.abort, uid=uid)
        await self._lanes.call(
            f"{uid} abort", f"end the migration of domain {uid}", abort, timeout=_SECONDS, ends=True
        )
