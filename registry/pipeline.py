"""One import, from an HTTP source into the registry, in one pass and constant memory.

Bytes go from the source into a temporary file; the upload follows right behind it. What is known to be one whole
qcow2, raw or ISO image of known length is uploaded while it comes; what must be unpacked, converted or measured
first is uploaded afterwards. Only when every check has passed is the blob committed and tagged; until then nothing
can be seen in the registry, and whatever ends the import takes the file and the upload with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

from hyperd import crashpoints
from hyperd.crashpoints import CrashPoint
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import qcow2
from hyperd.imagefile.detect import FAILED, HEAD_BYTES, ForeignFormat, ImageFormat, compression, image_format
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.settings import Settings
from registry import layout
from registry.checksums import Checksums
from registry.client import RegistryClient
from registry.fetch import Source, open_source
from registry.layout import DiskFile, Layer
from registry.meter import Meter
from registry.models import ImportRequest
from registry.spool import Spool
from registry.tasks import together
from registry.unpack import unpacked
from registry.upload import Upload

_RATIO_FLOOR_BYTES = 2 << 30
_MAX_RATIO = 200
"""Beyond the floor, what unpacks to more than this many times its size is taken for a bomb."""


@dataclass(frozen=True)
class Stored:
    """What one import left in the registry."""

    manifest_digest: str
    disk: DiskFile
    layer: Layer


class Pipeline:
    """One import: its checksums, its temporary file, its upload. Use once."""

    def __init__(
        self, settings: Settings, client: RegistryClient, request: ImportRequest, *, meter: Meter
    ) -> None:
        self._settings = settings
        self._client = client
        self._tools = QemuImg(settings)
        self._request = request
        self._checksums = Checksums(request.checksums)
        self._meter = meter
        self._spool = Spool(settings.images_dir, f"import-{request.uid}")

    async def run(self) -> Stored:
        """Do it. Raises PermanentError, TemporaryError, or the client's errors."""
        request = self._request
        async with (
            self._spool,
            open_source(request.source_url, ca_bundle=request.ca_bundle, settings=self._settings) as source,
        ):
            self._guard_length(source.length)
            await asyncio.to_thread(self._guard_room, source.length or 0)
            stream = self._received(source.blocks)
            head, stream = await _peek(stream)
            kind = None if compression(head) else image_format(head)
            if isinstance(kind, ImageFormat) and source.length is not None:
                return await self._streamed(stream, head, kind, source.length)
            return await self._spooled(source, stream, head)

    async def _streamed(self, stream: AsyncIterator[bytes], head: bytes, kind: ImageFormat, length: int) -> Stored:
        """Upload while it comes."""
        virtual_size = self._guard_head(head, kind, length)
        self._meter.expected = 2 * length
        async with self._client.upload(self._request.repository) as upload:
            async with together() as group:
                receiving = group.create_task(self._receive(stream, kind))
                pushing = group.create_task(self._push(upload, kind, length))
            await receiving
            layer = await pushing
            disk = self._describe(kind, length, virtual_size, self._checksums.sha256)
            return await self._tag(upload, disk, layer)

    async def _spooled(self, source: Source, stream: AsyncIterator[bytes], head: bytes) -> Stored:
        """Bring it into a form that is kept, then upload."""
        packed = compression(head)
        if packed is None:
            kind = await self._receive_unmeasured(stream)
        else:
            if source.length is not None:
                self._meter.expected = 3 * source.length
            async with unpacked(stream, packed, self._settings) as plain:
                kind = await self._receive_unmeasured(plain)
        self._checksums.verify()
        if isinstance(kind, ForeignFormat):
            kind = await self._convert(kind)
        size = self._spool.size
        virtual_size = self._guard_head(await self._head(), kind, size)
        await self._check(kind)
        self._meter.expected = self._meter.moved + size
        disk_hash = hashlib.sha256()
        async with self._client.upload(self._request.repository) as upload:
            layer = await self._push(upload, kind, size, disk_hash=disk_hash)
            disk = self._describe(kind, size, virtual_size, disk_hash.hexdigest())
            return await self._tag(upload, disk, layer)

    async def _received(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The source's bytes, hashed and counted."""
        limit = self._settings.imports.max_download_bytes
        async for block in blocks:
            await asyncio.to_thread(self._checksums.update, block)
            self._meter.receive(len(block))
            self._guard_length(self._meter.received, limit)
            yield block

    async def _receive(self, stream: AsyncIterator[bytes], kind: ImageFormat) -> None:
        """Into the temporary file, then judge it, while the upload is still on its way."""
        async for block in stream:
            await self._spool.append(block)
            crashpoints.reached(CrashPoint.IMPORT_STREAMING)
        await self._spool.finish()
        self._checksums.verify()
        await self._check(kind)

    async def _receive_unmeasured(self, stream: AsyncIterator[bytes]) -> ImageFormat | ForeignFormat:
        """Into the temporary file, within the limits of what may come out."""
        head, stream = await _peek(stream)
        kind = image_format(head)
        limit = self._settings.imports.max_virtual_size_bytes
        async for block in stream:
            await self._spool.append(block)
            crashpoints.reached(CrashPoint.IMPORT_STREAMING)
            if self._spool.size > limit:
                raise _too_large(limit)
            if self._spool.size > max(_RATIO_FLOOR_BYTES, _MAX_RATIO * self._meter.received):
                raise PermanentError(
                    f"The source unpacks to more than {_MAX_RATIO} times its size; serve it as qcow2 instead.",
                    key=FAILED,
                )
        await self._spool.finish()
        return kind

    async def _convert(self, kind: ForeignFormat) -> ImageFormat:
        """Replace the temporary file by a qcow2 of the same content."""
        limits = self._settings.imports
        info = await self._tools.info(self._spool.fd, kind)
        if info.virtual_size > limits.max_virtual_size_bytes:
            raise _too_large(limits.max_virtual_size_bytes)
        async with Spool(self._settings.images_dir, f"convert-{self._request.uid}") as target:
            await self._tools.convert(self._spool.fd, kind, target.fd, max_bytes=limits.max_virtual_size_bytes)
            await self._spool.take(target)
        return ImageFormat.QCOW2

    async def _check(self, kind: ImageFormat) -> None:
        if kind is ImageFormat.QCOW2:
            await self._tools.check(self._spool.fd)

    async def _push(
        self, upload: Upload, kind: ImageFormat, size: int, *, disk_hash: hashlib._Hash | None = None
    ) -> Layer:
        """Wrap the temporary file into its layer and send it, following the writer."""
        layer_hash = hashlib.sha256()

        def update(block: bytes) -> None:
            layer_hash.update(block)
            if disk_hash is not None:
                disk_hash.update(block)

        header, trailer = layout.header(kind, size), layout.trailer(size)
        layer_hash.update(header)
        await upload.send(header)
        async for block in self._spool.blocks():
            await asyncio.to_thread(update, block)
            await upload.send(block)
            self._meter.send(len(block))
        layer_hash.update(trailer)
        await upload.send(trailer)
        return Layer(f"sha256:{layer_hash.hexdigest()}", layout.layer_size(size))

    async def _tag(self, upload: Upload, disk: DiskFile, layer: Layer) -> Stored:
        """All is checked: commit, tag, and keep the file for this node's disks."""
        repository, tag = self._request.repository, self._request.tag
        await upload.commit(layer.digest)
        config = layout.config(disk, layer)
        config_digest = await self._client.put_blob(repository, config)
        crashpoints.reached(CrashPoint.IMPORT_BEFORE_TAG)
        manifest = layout.manifest(disk, layer, config_digest=config_digest, config_size=len(config), tag=tag)
        digest = await self._client.put_manifest(repository, tag, manifest)
        crashpoints.reached(CrashPoint.IMPORT_AFTER_TAG)
        await self._spool.publish(layer.digest, disk.format)
        return Stored(digest, disk, layer)

    async def _head(self) -> bytes:
        return await asyncio.to_thread(os.pread, self._spool.fd, HEAD_BYTES, 0)

    def _describe(self, kind: ImageFormat, size: int, virtual_size: int, sha256: str) -> DiskFile:
        return DiskFile(kind, size, virtual_size, sha256, fingerprint(self._request))

    def _guard_head(self, head: bytes, kind: ImageFormat, size: int) -> int:
        """The virtual size of an image of ``size`` bytes; PermanentError if it may not be kept."""
        limit = self._settings.imports.max_virtual_size_bytes
        if kind is not ImageFormat.QCOW2:
            if size > limit:
                raise _too_large(limit)
            return size
        header = qcow2.guard(head, max_virtual_size=limit)
        if size < header.minimum_size:
            raise PermanentError(
                f"The qcow2 image is cut short: it has {size} bytes, its header speaks of {header.minimum_size}.",
                key=FAILED,
            )
        return header.virtual_size

    def _guard_length(self, length: int | None, limit: int | None = None) -> None:
        limit = limit or self._settings.imports.max_download_bytes
        if length is not None and length > limit:
            raise PermanentError(
                f"The source has more than {limit} bytes (setting imports.max_download_bytes).", key=FAILED
            )

    def _guard_room(self, length: int) -> None:
        """TemporaryError when the disk plainly cannot take the file and an embedded registry's copy of it."""
        usage = os.statvfs(self._settings.images_dir)
        copies = 1 if self._client.endpoint.root is None else 2
        if length * copies > usage.f_bavail * usage.f_frsize:
            raise TemporaryError(
                f"The import needs {length * copies} bytes on {self._settings.images_dir}, "
                f"where {usage.f_bavail * usage.f_frsize} are free.",
                key=FAILED,
            )


def _too_large(limit: int) -> PermanentError:
    return PermanentError(
        f"The image has a virtual size beyond the limit of {limit} bytes "
        "(setting imports.max_virtual_size_bytes).",
        key=FAILED,
    )


def fingerprint(request: ImportRequest) -> str:
    """Tells a repeated request from a changed one."""
    content = [request.source_url, sorted(request.checksums.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


async def _peek(stream: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """The first HEAD_BYTES, or all if there are fewer, and the whole stream again."""
    taken: list[bytes] = []
    while sum(map(len, taken)) < HEAD_BYTES and (block := await anext(stream, b"")):
        taken.append(block)

    async def again() -> AsyncIterator[bytes]:
        for block in taken:
            yield block
        async for block in stream:
            yield block

    return b"".join(taken)[:HEAD_BYTES], again()
