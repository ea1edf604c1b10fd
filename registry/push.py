"""From a stream of bytes to a tagged image: the part of every import that talks to the registry."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from hyperd import crashpoints
from hyperd.crashpoints import CrashPoint
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile import files
from hyperd.imagefile.detect import FAILED, ImageFormat
from hyperd.imagefile.growth import guard_reserve
from registry import layout
from registry.chunks import ChunkDigests, Chunker
from registry.client import RegistryClient
from registry.layout import DiskFile, Layer
from registry.meter import Meter
from registry.models import ImportedImage
from registry.upload import Upload


@dataclass(frozen=True)
class Stored:
    """What one import left in the registry."""

    manifest_digest: str
    disk: DiskFile
    layer: Layer

    def image(self, reference: str, *, average_speed: int = 0, warning: str = "") -> ImportedImage:
        """For those outside; ``reference`` is where it is tagged."""
        disk = self.disk
        return ImportedImage(
            reference=reference,
            manifest_digest=self.manifest_digest,
            layer_digest=self.layer.digest,
            format=disk.format,
            cdrom=disk.format is ImageFormat.ISO,
            stored_bytes=disk.size,
            unpacked_bytes=disk.virtual_size,
            virtual_size=disk.virtual_size,
            sha256=disk.sha256,
            average_speed=average_speed,
            warning=warning,
        )


class Target:
    """One image to be: ``repository``:``tag``. Nothing can be seen of it before ``tag`` has returned."""

    def __init__(self, client: RegistryClient, repository: str, tag: str, *, meter: Meter, reserve: int) -> None:
        self._client = client
        self.repository = repository
        self._tag = tag
        self._meter = meter
        self._reserve = reserve
        self._chunks: ChunkDigests | None = None
        """Of what was pushed."""

    async def guard_room(self, size: int) -> None:
        """TemporaryError when ``size`` bytes do not fit where the embedded registry keeps them."""
        if self._client.endpoint.root is not None:
            await asyncio.to_thread(guard_room, self._client.endpoint.root, size, self._reserve)

    async def push(self, upload: Upload, kind: ImageFormat, size: int, blocks: AsyncIterator[bytes]) -> Layer:
        """Wrap ``blocks`` into the layer and send it."""
        header, trailer = layout.header(kind, size), layout.trailer(size)
        hash_, chunker = hashlib.sha256(header), Chunker(size)
        await upload.send(header)
        sent = 0
        async for block in blocks:
            await asyncio.to_thread(self._pass, hash_, chunker, block)
            await upload.send(block)
            sent += len(block)
            self._meter.send(len(block))
            crashpoints.reached(CrashPoint.IMPORT_STREAMING)
        if sent != size:
            raise TemporaryError(f"The source announced {size} bytes and sent {sent}.", key=FAILED)
        self._chunks = chunker.digests()
        hash_.update(trailer)
        await upload.send(trailer)
        return Layer(f"sha256:{hash_.hexdigest()}", layout.layer_size(size))

    def _pass(self, hash_: hashlib._Hash, chunker: Chunker, block: bytes) -> None:
        """A block on its way to the registry: others write there, too, and the reserve is everybody's."""
        hash_.update(block)
        chunker.update(block)
        if self._client.endpoint.root is not None:
            guard_reserve(self._client.endpoint.root, self._reserve)

    async def tag(self, disk: DiskFile, layer: Layer) -> Stored:
        """All is checked and the layer is committed: make it an image, and tag it."""
        disk = replace(disk, chunks=disk.chunks or self._chunks)
        config = layout.config(disk, layer)
        config_digest = await self._client.put_blob(self.repository, config)
        crashpoints.reached(CrashPoint.IMPORT_BEFORE_TAG)
        manifest = layout.manifest(
            disk, layer, config_digest=config_digest, config_size=len(config), tag=self._tag
        )
        digest = await self._client.put_manifest(self.repository, self._tag, manifest)
        crashpoints.reached(CrashPoint.IMPORT_AFTER_TAG)
        return Stored(digest, disk, layer)


async def stored(client: RegistryClient, repository: str, tag: str) -> Stored:
    """What is tagged, if hyperd has made it. Raises NotFound, or PermanentError for what others have."""
    digest, content = await client.manifest(repository, tag)
    config_digest, layer = layout.parse_manifest(content)
    disk = layout.parse_config(await client.get_blob(repository, config_digest))
    return Stored(digest, disk, layer)


async def stored_of(client: RegistryClient, repository: str, tag: str, source: str) -> Stored | None:
    """What is tagged already, if it was made from ``source``, a fingerprint."""
    try:
        found = await stored(client, repository, tag)
    except (NotFound, PermanentError):
        return None
    return found if found.disk.source == source else None


async def hashed(blocks: AsyncIterator[bytes], hash_: hashlib._Hash) -> AsyncIterator[bytes]:
    """``blocks``, of which ``hash_`` hears on their way."""
    async for block in blocks:
        await asyncio.to_thread(hash_.update, block)
        yield block


def guard_room(folder: Path, length: int, reserve: int) -> None:
    """TemporaryError when ``length`` bytes plainly do not fit beside the ``reserve``. Blocks for one statvfs."""
    free = max(0, files.free_bytes(folder) - reserve)
    if length > free:
        raise TemporaryError(f"The import needs {length} bytes in {folder}, where {free} are free.", key=FAILED)
