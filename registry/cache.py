"""The node's image cache: what disks overlay and CD-ROMs show.

A file is named by its layer's digest and is read-only: its name says what it holds, so an existing file is right
and nothing needs to be remembered. It appears whole or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hyperd.errors import InternalError, ServiceUnavailable, TemporaryError
from hyperd.imagefile import files
from hyperd.imagefile.detect import ImageFormat
from hyperd.imagefile.lazy import files_of
from hyperd.progress import Report
from hyperd.settings import Settings
from registry import layout
from registry.client import RegistryClient, check_digest
from registry.layout import DATA_OFFSET, DiskFile, Layer
from registry.lazy.fetches import LazyFetches
from registry.meter import Meter
from registry.models import CachedFile, CachedImage
from registry.spool import PART_SUFFIX, Spool, cached_path

_FOREIGN_SECONDS = 30
_NAME = re.compile(r"([0-9a-f]{64})\.(?:qcow2|img|iso)")


class ImageCache:
    """Read-only image files by layer digest in ``settings.images_dir``."""

    def __init__(self, settings: Settings, client: RegistryClient, fetches: LazyFetches | None = None) -> None:
        """``fetches`` are of images that are used before they are whole; without, none are."""
        self._fetches = fetches
        self._folder = settings.images_dir
        self._reserve = settings.storage.reserve_bytes
        self._client = client
        self._locks: dict[str, asyncio.Lock] = {}
        self._holders: Counter[str] = Counter()

    async def clean(self) -> None:
        """At start, before any import: make the folder, remove what a crash left half done."""
        await asyncio.to_thread(self._clean)

    async def ensure(self, reference: str, report: Report | None = None) -> CachedImage:
        """The image behind ``registryURL`` as a local file; concurrent callers share one download.

        Raises NotFound when the image is not in the registry, PermanentError for one that hyperd did not make,
        TemporaryError when trying again may help.
        """
        async with self.held(reference, report) as image:
            return image

    @asynccontextmanager
    async def held(
        self, reference: str, report: Report | None = None, *, lazily: bool = False
    ) -> AsyncIterator[CachedImage]:
        """Like ``ensure``; ``evict`` and ``end_fetch`` leave it alone until the block ends.

        ``lazily``: it need not be whole, if it can be read while it is fetched.
        """
        image = await self._hold(reference, report, lazily=lazily)
        try:
            yield image
        finally:
            self._holders[image.layer_digest] -= 1

    async def _hold(self, reference: str, report: Report | None, *, lazily: bool) -> CachedImage:
        try:
            repository, tag = self._client.endpoint.parse(reference)
        except ValueError as err:
            raise TemporaryError(
                f"{reference} is in another registry than this node's, {self._client.endpoint.name}; set "
                "registry.url to one that all nodes reach, and make the image again.",
                delay=_FOREIGN_SECONDS,
            ) from err
        try:
            _, content = await self._client.manifest(repository, tag)
            config_digest, layer = layout.parse_manifest(content)
            disk = layout.parse_config(await self._client.get_blob(repository, check_digest(config_digest)))
            path = cached_path(self._folder, check_digest(layer.digest), disk.format)
            async with self._locks.setdefault(layer.digest, asyncio.Lock()):
                whole = await asyncio.to_thread(_touched, path)
                if not whole and not (lazily and await self._begin(repository, tag, disk, layer)):
                    await self._pull(repository, disk, layer, report)
                    whole = True
                self._holders[layer.digest] += 1
        except (ServiceUnavailable, InternalError) as err:
            raise TemporaryError(err.message, delay=err.retry_after_seconds) from err
        cdrom = disk.format is ImageFormat.ISO
        return CachedImage(path, layer.digest, disk.format, disk.virtual_size, cdrom, whole)

    async def _begin(self, repository: str, tag: str, disk: DiskFile, layer: Layer) -> bool:
        """Whether the image is being fetched, to be read meanwhile."""
        return self._fetches is not None and await self._fetches.begin(repository, tag, disk, layer)

    async def evict(self, layer_digest: str, unused: Callable[[], Awaitable[bool]]) -> None:
        """Delete the cached file if nobody holds it and ``unused`` says that nothing was made of it.

        ``unused`` is asked while nobody can begin to use the file. Nothing to do is fine.
        """
        digest = check_digest(layer_digest)
        async with self._locks.setdefault(digest, asyncio.Lock()):
            if not self._holders[digest] and await unused():
                await asyncio.to_thread(self._remove, digest)

    async def end_fetch(self, image: Path, unused: Callable[[], Awaitable[bool]]) -> None:
        """Fetch the image no more whose place that is, if nobody is about to make something of it."""
        digest = f"sha256:{image.stem}"
        async with self._locks.setdefault(digest, asyncio.Lock()):
            if self._fetches is not None and not self._holders[digest] and await unused():
                await self._fetches.end(files_of(image))

    async def inventory(self) -> list[CachedFile]:
        """All files, whoever needs them."""
        return await asyncio.to_thread(self._inventory)

    async def _pull(self, repository: str, disk: DiskFile, layer: Layer, report: Report | None) -> None:
        meter = Meter(report)
        meter.expect(layer.size)
        hash_ = hashlib.sha256()
        name = f"pull-{layer.digest.removeprefix('sha256:')}"
        async with Spool(self._folder, name, reserve=self._reserve) as spool:
            async with self._client.open_blob(repository, layer.digest) as blocks:
                async for block in _data(self._verified(blocks, hash_, meter, layer.size), disk.size):
                    await spool.append(block)
            if hash_.hexdigest() != layer.digest.removeprefix("sha256:") or spool.size != disk.size:
                raise TemporaryError(
                    f"Layer {layer.digest} of {repository} came damaged or incomplete from the registry."
                )
            await spool.finish()
            await spool.publish(layer.digest, disk.format)

    async def _verified(
        self, blocks: AsyncIterator[bytes], hash_: hashlib._Hash, meter: Meter, size: int
    ) -> AsyncIterator[bytes]:
        async for block in blocks:
            await asyncio.to_thread(hash_.update, block)
            meter.receive(len(block))
            if meter.received > size:
                raise TemporaryError(f"The registry sends more than the {size} bytes that it announced.")
            yield block

    def _clean(self) -> None:
        for path in files.folder(self._folder).glob(f".*{PART_SUFFIX}"):
            path.unlink(missing_ok=True)

    def _remove(self, digest: str) -> None:
        for format_ in ImageFormat:
            cached_path(self._folder, digest, format_).unlink(missing_ok=True)

    def _inventory(self) -> list[CachedFile]:
        return [found for path in sorted(self._folder.glob("*")) if (found := _describe(path))]


def _touched(path: Path) -> bool:
    """Whether the file exists; its time says then when it was last asked for."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


async def _data(stream: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The disk's bytes out of the layer's; the stream is read to its end, so that all of it is verified."""
    position = -DATA_OFFSET
    async for block in stream:
        start, end = max(0, -position), min(len(block), size - position)
        position += len(block)
        if start < end:
            yield block[start:end]


def _describe(path: Path) -> CachedFile | None:
    match = _NAME.fullmatch(path.name)
    try:
        return CachedFile(path, f"sha256:{match[1]}", path.stat().st_blocks * 512) if match else None
    except FileNotFoundError:
        return None
