"""The process that serves images while it fetches them: one a node, without a daemon if need be.

What it does is in the folder of images: a record begins a fetch, and its removal ends it. An image that is there
is served as well, as a guest may have been told of this process just before.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hyperd.background import Background
from hyperd.errors import HyperdError, PermanentError
from hyperd.imagefile.detect import ImageFormat
from hyperd.imagefile.lazy import LazyFiles, begun
from hyperd.settings import Settings
from registry.client import RegistryClient
from registry.layout import DATA_OFFSET
from registry.lazy import nbd
from registry.lazy.demand import Demand
from registry.lazy.image import LazyImage
from registry.lazy.record import LazyRecord
from registry.models import RegistryEndpoint
from registry.server import embedded_endpoint, external_endpoint
from registry.spool import cached_path

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.3
_NAME = re.compile(r"[0-9a-f]{64}")
_BUFFER_BYTES = 64 << 10
_READ_SECONDS = 20.0
"""A registry that is silent for so long is asked anew: a guest waits."""


class LazyServer:
    """Serves on ``settings.lazy_socket``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = RegistryClient(endpoint_of(settings), _impatient(settings))
        self._images: dict[str, LazyImage] = {}
        self._fetching: dict[LazyImage, asyncio.Task[None]] = {}
        self._demand = Demand()
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled."""
        listening = await self._listen()
        background = Background(pause_seconds=1.0)
        try:
            async with listening:
                background.spawn(self._keep, "images that are being fetched")
                await listening.serve_forever()
        finally:
            await background.stop()
            for image in self._images.values():
                await image.close()
            await self._client.close()

    async def _listen(self) -> asyncio.Server:
        """A socket that guests' QEMUs may open, and nobody else."""
        path = self._settings.lazy_socket
        made = path.with_name(f".{path.name}.new")
        made.unlink(missing_ok=True)
        listening = await asyncio.start_unix_server(self._serve, made, limit=_BUFFER_BYTES)
        made.chmod(0o600)
        with suppress(KeyError, PermissionError):
            os.chown(made, pwd.getpwnam(self._settings.hypervisor.qemu_user).pw_uid, -1)
        os.replace(made, path)
        return listening

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await nbd.serve(reader, writer, self._found)

    @asynccontextmanager
    async def _found(self, name: str) -> AsyncIterator[nbd.Export | None]:
        if not _NAME.fullmatch(name):
            yield None
            return
        async with self._changing:
            image = await self._image(LazyFiles(self._settings.images_dir, name))
        if image is None:
            whole = _WholeFile.at(self._settings.images_dir, name)
            yield whole
            if whole is not None:
                whole.close()
            return
        image.readers += 1
        try:
            yield image
        finally:
            image.readers -= 1
            if not image.readers and self._images.get(name) is not image:
                await image.close()

    async def _keep(self) -> None:
        """Follow the folder, and tell how each fetch fares."""
        try:
            while True:
                found = await asyncio.to_thread(begun, self._settings.images_dir)
                there = {files.digest: files for files in found}
                async with self._changing:
                    for digest, files in there.items():
                        image = await self._image(files)
                        if image is not None and image not in self._fetching:
                            self._fetching[image] = asyncio.create_task(image.run(), name=f"fetch {digest}")
                    for digest in set(self._images) - set(there):
                        if not self._images[digest].readers:
                            await self._end(digest)
                for image, task in list(self._fetching.items()):
                    if task.done() and not task.cancelled() and (err := task.exception()) is not None:
                        _log.error("A fetch failed, and begins anew", exc_info=err)
                        del self._fetching[image]
                for digest, image in self._images.items():
                    if digest in there:
                        with suppress(OSError):
                            await asyncio.to_thread(image.tell)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for task in self._fetching.values():
                task.cancel()
            await asyncio.gather(*self._fetching.values(), return_exceptions=True)
            self._fetching.clear()

    async def _image(self, files: LazyFiles) -> LazyImage | None:
        """The image, opened if it was not; None where there is no record of one."""
        found = self._images.get(files.digest)
        if found is not None and not await asyncio.to_thread(found.is_lost):
            return found
        if found is not None:  # evicted, and wanted again; who reads it has it open
            del self._images[files.digest]
            self._fetching.pop(found, None)
            if not found.readers:
                await found.close()
        try:
            record = await asyncio.to_thread(LazyRecord.read, files)
            reserve = self._settings.storage.reserve_bytes
            image = LazyImage(record, files, self._fetch, demand=self._demand, reserve=reserve)
            await image.open()
        except FileNotFoundError:
            return None
        except (PermanentError, OSError) as err:
            _log.error("%s cannot be served: %s", files.record, err)
            return None
        self._images[files.digest] = image
        return image

    async def _end(self, digest: str) -> None:
        image = self._images.pop(digest)
        fetch = self._fetching.pop(image, None)
        if fetch is not None:
            fetch.cancel()
            await asyncio.gather(fetch, return_exceptions=True)
        with suppress(OSError):
            await image.close()
        await asyncio.to_thread(LazyFiles(self._settings.images_dir, digest).remove_remains)

    async def _fetch(self, record: LazyRecord, offset: int, length: int) -> bytes:
        if record.disk.size < offset + length:
            raise PermanentError("That is beyond the image's end.")
        return await self._client.get_range(record.repository, record.layer.digest, DATA_OFFSET + offset, length)


class _WholeFile:
    """An image of the cache."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size

    @classmethod
    def at(cls, folder: Path, digest: str) -> _WholeFile | None:
        for format_ in ImageFormat:
            with suppress(OSError):
                return cls(cached_path(folder, digest, format_))
        return None

    async def read(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(os.pread, self._fd, length, offset)

    def close(self) -> None:
        os.close(self._fd)


def endpoint_of(settings: Settings) -> RegistryEndpoint:
    """The node's registry. Raises PermanentError when its password cannot be read."""
    return external_endpoint(settings) if settings.registry.url else embedded_endpoint(settings)


def _impatient(settings: Settings) -> Settings:
    most = min(settings.imports.read_timeout_seconds, _READ_SECONDS)
    return settings.model_copy(
        update={"imports": settings.imports.model_copy(update={"read_timeout_seconds": most})}
    )


async def main(config: Path) -> None:
    """Serve until SIGTERM, by the settings in ``config``."""
    settings = Settings.model_validate_json(await asyncio.to_thread(config.read_bytes))
    try:
        await LazyServer(settings).run()
    except HyperdError as err:
        raise SystemExit(err.message) from err
