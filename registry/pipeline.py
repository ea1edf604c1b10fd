"""One import, from its source into the registry, in one pass and constant memory.

What is known to be one whole qcow2, raw or ISO image of known length is uploaded while it comes. What must be
unpacked, converted or measured first goes through a temporary file, which then becomes the node's cached one. Only
when every check has passed is the blob committed and tagged; until then nothing can be seen in the registry, and
whatever ends the import takes the file and the upload with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from io import FileIO
from pathlib import Path

from hyperd.background import to_the_end
from hyperd.errors import PermanentError
from hyperd.imagefile import foreign, qcow2
from hyperd.imagefile.detect import (
    FAILED,
    HEAD_BYTES,
    Compression,
    ForeignFormat,
    ImageFormat,
    compression,
    doubt,
    image_format,
)
from hyperd.imagefile.growth import Growth
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.resources.values.quantity import format_bytes, round_up
from hyperd.settings import Settings
from registry import coding, layout, sources, tree
from registry.checksums import Checksums
from registry.client import RegistryClient
from registry.fetch import Source
from registry.layout import DiskFile
from registry.meter import Meter
from registry.models import ImportRequest
from registry.push import Stored, Target, guard_room, hashed
from registry.slots import Slot
from registry.spool import Spool
from registry.unpack import unpacked
from registry.upload import Upload
from registry.urls import shown

_RATIO_FLOOR_BYTES = 2 << 30
_MAX_RATIO = 200
"""Beyond the floor, what unpacks to more than this many times its size is taken for a bomb."""


class Pipeline:
    """One import: its checksums, its temporary file, its upload. Use once.

    ``warning`` is set by ``run``: a doubt about an image that is kept all the same.
    """

    def __init__(
        self, settings: Settings, client: RegistryClient, request: ImportRequest, *, meter: Meter, slot: Slot
    ) -> None:
        self._settings = settings
        self._client = client
        self._tools = QemuImg(settings)
        self._request = request
        self._checksums = Checksums(request.checksums)
        self._decoded: list[Checksums] = []
        self._meter = meter
        self._slot = slot
        self._reserve = settings.storage.reserve_bytes
        self._spool = Spool(settings.images_dir, f"import-{request.uid}", reserve=self._reserve)
        self._target = Target(client, request.repository, request.tag, meter=meter, reserve=self._reserve)
        self._page = False
        self.warning = ""

    async def run(self) -> Stored:
        """Do it. Raises PermanentError, TemporaryError, or the client's errors."""
        async with sources.opened(self._request, settings=self._settings, received=self._slot.received) as source:
            self._guard_length(source.length)
            self._page = source.page
            if source.length is not None:
                # It comes, and it goes on to the registry.
                self._meter.expect(2 * source.length)
            stream = self._received(source.blocks)
            head, stream = await _peek(stream)
            coding.guard(source.coding, head)
            kind = None if compression(head) else self._judge(head)
            if isinstance(kind, ImageFormat) and source.length is not None and self._can_check(kind):
                return await self._streamed(stream, head, kind, source.length)
            return await self._spooled(source, stream, head)

    async def _streamed(self, stream: AsyncIterator[bytes], head: bytes, kind: ImageFormat, length: int) -> Stored:
        """Upload while it comes; nothing is written here but by the registry."""
        virtual_size = self._guard_head(head, kind, length)
        await self._target.guard_room(length)
        async with self._client.upload(self._request.repository) as upload:
            layer = await self._target.push(upload, kind, length, stream)
            await self._slot.work()
            self._checksums.verify()
            await upload.flush()
            if kind is ImageFormat.QCOW2:
                await self._check_uploaded(upload, length)
            disk = self._describe(kind, length, virtual_size, self._checksums.sha256)
            await upload.commit(layer.digest)
            return await self._target.tag(disk, layer)

    async def _spooled(self, source: Source, stream: AsyncIterator[bytes], head: bytes) -> Stored:
        """Bring it into a form that is kept, then upload."""
        async with self._spool:
            await asyncio.to_thread(guard_room, self._settings.images_dir, source.length or 0, self._reserve)
            kind = await self._prepare(source, stream, head)
            await self._slot.work()
            self._checksums.verify(*self._decoded)
            if isinstance(kind, ForeignFormat):
                kind = await self._convert(kind)
            return await self._upload(kind)

    async def _prepare(
        self, source: Source, stream: AsyncIterator[bytes], head: bytes
    ) -> ImageFormat | ForeignFormat:
        """The image in the temporary file, whole and plain."""
        if source.length is not None and compression(head):
            self._meter.expect(3 * source.length - self._meter.moved)
        async with AsyncExitStack() as stack:
            for _ in coding.undone(source.coding, head):
                # The server's wrapping, not the image's: what is published may be the checksum of either.
                plain = await stack.enter_async_context(unpacked(stream, Compression.GZIP, self._settings))
                checksums = Checksums(self._request.checksums)
                self._decoded.append(checksums)
                head, stream = await _peek(_counted(plain, checksums))
            if packed := compression(head):
                stream = await stack.enter_async_context(unpacked(stream, packed, self._settings))
            return await self._receive(stream)

    async def _upload(self, kind: ImageFormat) -> Stored:
        """The temporary file, once judged, into the registry and the cache."""
        size = self._spool.size
        virtual_size = self._guard_head(await self._head(), kind, size)
        if kind is ImageFormat.QCOW2:
            await self._tools.check(self._spool.fd)
        self._meter.expect(size)
        await self._target.guard_room(size)
        sha256 = hashlib.sha256()
        async with self._client.upload(self._request.repository) as upload:
            layer = await self._target.push(upload, kind, size, hashed(self._spool.blocks(), sha256))
            await upload.flush()
            disk = self._describe(kind, size, virtual_size, sha256.hexdigest())
            await upload.commit(layer.digest)
            stored = await self._target.tag(disk, layer)
        await self._spool.publish(layer.digest, kind)
        return stored

    async def _received(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The source's bytes, hashed and counted."""
        limit = self._settings.imports.max_download_bytes
        async for block in blocks:
            await self._slot.throttle(len(block))
            await asyncio.to_thread(self._checksums.update, block)
            self._meter.receive(len(block))
            self._guard_length(self._meter.received, limit)
            yield block

    async def _receive(self, stream: AsyncIterator[bytes]) -> ImageFormat | ForeignFormat:
        """Into the temporary file, within the limits of what may come out."""
        head, stream = await _peek(stream)
        kind = self._judge(head)
        limit = self._settings.imports.max_virtual_size_bytes
        async for block in stream:
            await self._spool.append(block)
            if self._spool.size > limit:
                raise _too_large(limit)
            if kind is ImageFormat.RAW:
                self._guard_fit(self._spool.size)
            if self._spool.size > self._most:
                raise PermanentError(
                    f"The source unpacks to more than {_MAX_RATIO} times its size; serve it as qcow2 instead.",
                    key=FAILED,
                )
        await self._spool.finish()
        return kind

    @property
    def _most(self) -> int:
        """What may be made of what has come: of the bytes on the wire, as a layer may itself be packed."""
        return max(_RATIO_FLOOR_BYTES, _MAX_RATIO * self._slot.came)

    def _judge(self, head: bytes) -> ImageFormat | ForeignFormat:
        """What the image is; PermanentError if it is none. Doubts go to ``warning``."""
        kind = image_format(head)
        self.warning = doubt(head, kind)
        if self.warning and self._page:
            raise PermanentError(
                f"{shown(self._request.source_url)} is a web page, not a disk image; check the URL, it may ask "
                "for a login.",
                key=FAILED,
            )
        return kind

    async def _convert(self, kind: ForeignFormat) -> ImageFormat:
        """Replace the temporary file by a qcow2 of the same content."""
        limit, folder = self._settings.imports.max_virtual_size_bytes, self._settings.images_dir
        expansion = await to_the_end(foreign.guard, self._spool.fd, kind, max_virtual_size=limit)
        self._guard_fit(expansion.virtual_size)
        most = min(expansion.max_bytes, self._most)
        await self._tools.info(self._spool.fd, kind)
        async with Spool(folder, f"convert-{self._request.uid}", reserve=self._reserve) as target:
            growth = Growth(target.fd, max_bytes=most, folder=folder, reserve=self._reserve)
            await self._tools.convert(self._spool.fd, kind, target.fd, growth=growth)
            await self._spool.take(target)
        return ImageFormat.QCOW2

    def _can_check(self, kind: ImageFormat) -> bool:
        """Whether uploaded bytes can be judged before they are committed: a qcow2 only where they are here."""
        return kind is not ImageFormat.QCOW2 or self._client.endpoint.root is not None

    async def _check_uploaded(self, upload: Upload, length: int) -> None:
        """qemu-img check on the disk inside the layer that the embedded registry has not committed yet."""
        path = tree.upload_data(self._settings.registry_dir, self._request.repository, upload.id)
        with await asyncio.to_thread(_open, path) as file:
            await self._tools.check(file.fileno(), offset=layout.DATA_OFFSET, size=length)

    async def _head(self) -> bytes:
        return await to_the_end(os.pread, self._spool.fd, HEAD_BYTES, 0)

    def _describe(self, kind: ImageFormat, size: int, virtual_size: int, sha256: str) -> DiskFile:
        return DiskFile(kind, size, virtual_size, sha256, self._request.fingerprint)

    def _guard_head(self, head: bytes, kind: ImageFormat, size: int) -> int:
        """The virtual size of an image of ``size`` bytes; PermanentError if it may not be kept."""
        limit = self._settings.imports.max_virtual_size_bytes
        if kind is not ImageFormat.QCOW2:
            if size > limit:
                raise _too_large(limit)
            self._guard_fit(size)
            return size
        header = qcow2.guard(head, max_virtual_size=limit)
        if size < header.minimum_size:
            raise PermanentError(
                f"The qcow2 image is cut short: it has {size} bytes, its header speaks of {header.minimum_size}.",
                key=FAILED,
            )
        self._guard_fit(header.virtual_size)
        return header.virtual_size

    def _guard_fit(self, virtual_size: int) -> None:
        """PermanentError when the disk that the image is for is smaller."""
        needed, most = round_up(virtual_size), self._request.most
        if most is not None and needed > most:
            raise PermanentError(
                f"The requested size {format_bytes(most)} is smaller than the image, which needs "
                f"{format_bytes(needed)}; raise spec.persistentVolumeClaim.size.",
                key=FAILED,
            )

    def _guard_length(self, length: int | None, limit: int | None = None) -> None:
        limit = limit or self._settings.imports.max_download_bytes
        if length is not None and length > limit:
            raise PermanentError(
                f"The source has more than {limit} bytes (setting imports.max_download_bytes).", key=FAILED
            )


def _open(path: Path) -> FileIO:
    """A file, no link; an object that closes itself where who asked for it has left."""
    return FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))


def _too_large(limit: int) -> PermanentError:
    return PermanentError(
        f"The image has a virtual size beyond the limit of {limit} bytes "
        "(setting imports.max_virtual_size_bytes).",
        key=FAILED,
    )


async def _counted(stream: AsyncIterator[bytes], checksums: Checksums) -> AsyncIterator[bytes]:
    async for block in stream:
        await asyncio.to_thread(checksums.update, block)
        yield block


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
