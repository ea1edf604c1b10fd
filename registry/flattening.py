"""What a volume of this node holds, as one image in the registry: a plain qcow2, whatever the volume is made of.

It is read as ``hyperd.imagefile.copying`` reads it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence

from hyperd.background import to_the_end
from hyperd.imagefile import copying, qcow2
from hyperd.imagefile.detect import HEAD_BYTES, ImageFormat
from hyperd.imagefile.growth import Growth
from hyperd.imagefile.handle import Handle
from hyperd.imagefile.layers import opened
from hyperd.imagefile.qemuimg import QemuImg, allocated
from hyperd.settings import Settings
from registry.client import RegistryClient
from registry.layout import DiskFile
from registry.meter import Meter
from registry.models import VolumeRequest
from registry.push import Stored, Target, hashed
from registry.spool import Spool


class Flattening:
    """One volume. Use once."""

    def __init__(
        self,
        settings: Settings,
        client: RegistryClient,
        request: VolumeRequest,
        layers: Sequence[Handle],
        *,
        meter: Meter,
    ) -> None:
        """``layers`` are the volume and what it overlays, in this order."""
        self._settings = settings
        self._client = client
        self._request = request
        self._layers = layers
        self._meter = meter
        self._tools = QemuImg(settings)
        self._folder = settings.images_dir
        self._reserve = settings.storage.reserve_bytes
        self._target = Target(client, request.repository, request.tag, meter=meter, reserve=self._reserve)

    async def run(self) -> Stored:
        """Do it. TemporaryError where a guest has the volume open, or there is no room."""
        async with Spool(self._folder, f"flatten-{self._request.uid}", reserve=self._reserve) as spool:
            await self._flatten(spool)
            spool.measure()
            head = await to_the_end(os.pread, spool.fd, HEAD_BYTES, 0)
            header = qcow2.guard(head, max_virtual_size=self._settings.imports.max_virtual_size_bytes)
            await self._tools.check(spool.fd)
            await self._target.guard_room(spool.size)
            self._meter.expect(spool.size)
            sha256 = hashlib.sha256()
            async with self._client.upload(self._request.repository) as upload:
                blocks = hashed(spool.blocks(), sha256)
                layer = await self._target.push(upload, ImageFormat.QCOW2, spool.size, blocks)
                await upload.commit(layer.digest)
            disk = DiskFile(
                ImageFormat.QCOW2, spool.size, header.virtual_size, sha256.hexdigest(), self._request.fingerprint
            )
            stored = await self._target.tag(disk, layer)
            await spool.publish(layer.digest, ImageFormat.QCOW2)
        return stored

    async def _flatten(self, spool: Spool) -> None:
        with opened(self._layers) as layers:
            most = copying.largest(await asyncio.to_thread(copying.virtual_size, layers[0]))
            self._meter.expect(2 * allocated(layer.fd for layer in layers))
            growth = Growth(spool.fd, max_bytes=most, folder=self._folder, reserve=self._reserve)
            await self._tools.flatten(layers, spool.fd, growth=growth, written=self._written)

    def _written(self, count: int) -> None:
        """The converter has written so many bytes by now."""
        self._meter.receive(max(0, count - self._meter.received))
