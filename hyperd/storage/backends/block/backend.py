"""A pool of partitions on a disk: a guest's disk is a block device, with no file system in between."""

from __future__ import annotations

import asyncio
import logging

from hyperd.errors import HyperdError
from hyperd.settings import PoolSettings, Settings
from hyperd.storage.asking import Asking
from hyperd.storage.backends.block.attacher import BlockAttacher
from hyperd.storage.backends.block.owner import Owner
from hyperd.storage.backends.block.pool import Pool
from hyperd.storage.backends.block.provisioner import BlockProvisioner

_log = logging.getLogger(__name__)


class BlockBackend:
    """One of ``settings.storage.pools``."""

    def __init__(self, settings: Settings, pool: PoolSettings) -> None:
        self.name = pool.provisioner
        owner = Owner(settings.pools_dir / f"{pool.name}.json", node=settings.node, adopts=pool.adopt)
        self._pool = Pool(pool.name, pool.path, owner)
        self._asking = Asking(self._pool)
        self.attacher = BlockAttacher(self._pool, self._asking)
        self.provisioner = BlockProvisioner(
            settings, self._pool, self._asking, name=self.name, is_attached=self.attacher.is_attached
        )

    async def start(self) -> None:
        """A pool that cannot be used is told of, and asked again by whoever needs it."""
        try:
            await self._asking.require()
            await asyncio.to_thread(self._pool.clean)
        except HyperdError as err:
            _log.warning("%s", err.message)
