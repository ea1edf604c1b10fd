"""A pool of raw files on a file system that shares blocks: clones and snapshots at once, and no chains."""

from __future__ import annotations

import asyncio
import logging

from hyperd.errors import HyperdError
from hyperd.settings import PoolSettings, Settings
from hyperd.storage.asking import Asking
from hyperd.storage.backends.reflink.attacher import ReflinkAttacher
from hyperd.storage.backends.reflink.pool import Pool
from hyperd.storage.backends.reflink.provisioner import ReflinkProvisioner

_log = logging.getLogger(__name__)


class ReflinkBackend:
    """One of ``settings.storage.pools``."""

    def __init__(self, settings: Settings, pool: PoolSettings) -> None:
        self.name = pool.provisioner
        self._images = settings.images_dir
        self._pool = Pool(pool.name, pool.path, note=settings.pools_dir / f"{pool.name}.json")
        self._asking = Asking(self._pool)
        self.provisioner = ReflinkProvisioner(settings, self._pool, self._asking, name=self.name)
        self.attacher = ReflinkAttacher(self._pool, self._asking)

    async def start(self) -> None:
        """A pool that cannot be used is told of, and asked again by whoever needs it."""
        try:
            await self._asking.require()
            await asyncio.to_thread(self._begin)
        except HyperdError as err:
            _log.warning("%s", err.message)

    def _begin(self) -> None:
        self._pool.clean()
        self._pool.forget_bases(self._images)
