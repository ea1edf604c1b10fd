"""What the daemon knows of images that are being fetched while they are read: begins them, and keeps who does it.

That process outlives the daemon, as guests read from it; the next daemon adopts it. One that ends is started again
at once, and its guests, which were stopped by an error, go on then.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import suppress
from pathlib import Path

from hyperd import crashpoints, durable
from hyperd.background import Background, to_the_end
from hyperd.backoff import backoff
from hyperd.crashpoints import CrashPoint
from hyperd.errors import HyperdError, PermanentError
from hyperd.imagefile import files, sandbox
from hyperd.imagefile.detect import ImageFormat
from hyperd.imagefile.lazy import FetchState, LazyFiles, begun, clean, files_of, read_state
from hyperd.settings import Settings
from registry import layout, process
from registry.client import RegistryClient
from registry.layout import DATA_OFFSET, DiskFile, Layer
from registry.lazy.image import FIRST_BYTES
from registry.lazy.record import LazyRecord
from registry.spool import cached_path

_log = logging.getLogger(__name__)
_READY_SECONDS = 20.0
_FIRST_SECONDS = 3.0
_LONGEST_PAUSE_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_LOG_BYTES = 4 << 20


class LazyFetches:
    """Of one node."""

    def __init__(self, settings: Settings, client: RegistryClient) -> None:
        self._settings, self._client = settings, client
        self._folder = settings.images_dir
        self._argv = [sys.executable, "-P", "-m", "registry.lazy", str(settings.lazy_config)]
        self._log = settings.log_dir / "images.log"
        self._awaits = settings.imports.lazy and settings.home == "embedded"
        self._process: process.Process | None = None
        self._background = Background()
        self._wake = asyncio.Event()
        self._up = asyncio.Event()
        self._recording = asyncio.Lock()
        """Held while a record is made, and by who would remove what has none."""

    async def start(self) -> None:
        """Go on with what was being fetched, if anything was."""
        self._background.spawn(self._supervise, "who fetches images")

    async def close(self) -> None:
        """Leave the process to itself, if guests may read from it."""
        await self._background.stop()
        if not await self._begun():
            await self._end()
        elif self._process is not None:
            self._process.close()
            self._process = None

    async def begin(self, repository: str, tag: str, disk: DiskFile, layer: Layer) -> bool:
        """Have the image fetched, from now on; whether it can be read meanwhile. Raises the client's errors."""
        settings = self._settings
        if settings.home != "embedded" or disk.format is ImageFormat.ISO:
            return False
        if disk.chunks is None or disk.size < settings.imports.lazy_from_bytes:
            return False
        places = LazyFiles(self._folder, layer.digest.removeprefix("sha256:"))
        if not await asyncio.to_thread(places.record.exists):
            # A registry that serves no parts is heard of here, and so is an image that is laid out otherwise.
            try:
                head = await self._client.get_range(repository, layer.digest, 0, DATA_OFFSET)
            except PermanentError:
                return False
            if head != layout.header(disk.format, disk.size) or layer.size != layout.layer_size(disk.size):
                return False
            record = LazyRecord(repository, tag, layer, disk, disk.chunks)
            await asyncio.to_thread(files.folder, self._folder)
            async with self._recording:
                with files.full_disk_is_temporary("The image cannot be fetched"):
                    await to_the_end(record.write, places)
            crashpoints.reached(CrashPoint.LAZY_AFTER_RECORD)
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY_SECONDS):
                await self._up.wait()
            async with asyncio.timeout(_FIRST_SECONDS):
                first = min(disk.size, FIRST_BYTES)
                while not ((state := await asyncio.to_thread(read_state, places)) and state.fetched >= first):
                    await asyncio.sleep(_LOOK_SECONDS)
        return True

    async def state(self, image: Path) -> FetchState | None:
        """How the fetch of the image whose place that is fares; None where there is none."""
        places = files_of(image)
        if not await asyncio.to_thread(places.record.exists):
            return None
        return await asyncio.to_thread(read_state, places) or FetchState(0, 0)

    async def images(self) -> list[Path]:
        """The places of those that are being fetched, or were until just now."""
        return [_place(places, record) for places, record in await self._records()]

    async def sources(self) -> frozenset[tuple[str, str]]:
        """Repository and tag of what has not come yet, and must stay in the registry until then."""
        found = await self._records()
        return await asyncio.to_thread(
            lambda: frozenset(
                (record.repository, record.tag) for places, record in found if not _place(places, record).exists()
            )
        )

    async def _records(self) -> list[tuple[LazyFiles, LazyRecord]]:
        return await asyncio.to_thread(_records, self._folder)

    async def _begun(self) -> list[LazyFiles]:
        return await asyncio.to_thread(begun, self._folder)

    async def end(self, places: LazyFiles) -> None:
        """Fetch it no more: nothing reads it, or all read the file."""
        await asyncio.to_thread(places.record.unlink, missing_ok=True)
        self._wake.set()

    async def _supervise(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            if await self._rested():
                await self._wake.wait()
                continue
            try:
                await self._bring_up()
            except (OSError, HyperdError) as err:
                failures += 1
                _log.error("images cannot be served while they are fetched (%s); see %s", err, self._log)
                await self._end()
                await asyncio.sleep(backoff(failures, first=0.5, last=_LONGEST_PAUSE_SECONDS))
                continue
            failures = 0
            await self._watch()

    async def _watch(self) -> None:
        """Until the process ends, or there is nothing left for it to do."""
        current = self._process
        if current is None:
            return
        ended = asyncio.create_task(current.exited(), name="end of who fetches images")
        woken = asyncio.create_task(self._wake.wait(), name="word for who fetches images")
        try:
            await asyncio.wait({ended, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            ended.cancel()
        if ended.done() and not ended.cancelled():
            _log.warning("the process that serves images while they are fetched ended; starting it again")
            await self._end()

    async def _bring_up(self) -> None:
        """Adopt or start the process, and wait for it to listen."""
        current = self._process = await self._found()
        await current.until(self._listens, seconds=_READY_SECONDS)
        self._up.set()

    async def _found(self) -> process.Process:
        """The process that there is; else one that is started."""
        if self._process is not None:
            return self._process
        adopted = await self._adopt()
        if adopted is not None:
            return adopted
        async with self._recording:
            return await to_the_end(self._launch)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self._settings.lazy_socket)
        except (FileNotFoundError, ConnectionError):
            return False
        writer.close()
        return True

    async def _adopt(self) -> process.Process | None:
        """One that was started by other settings may reach no registry any more: it is ended."""
        found = await asyncio.to_thread(process.find, self._argv)
        if len(found) == 1 and await asyncio.to_thread(self._is_current):
            return found[0]
        for other in found:
            await other.end()
            other.close()
        return None

    def _is_current(self) -> bool:
        try:
            return self._settings.lazy_config.read_bytes() == self._config()
        except FileNotFoundError:
            return False

    def _config(self) -> bytes:
        return self._settings.model_dump_json().encode()

    def _launch(self) -> process.Process:
        settings = self._settings
        for folder in (settings.run_dir, settings.log_dir):
            folder.mkdir(parents=True, exist_ok=True)
        settings.lazy_socket.unlink(missing_ok=True)
        clean(self._folder)
        with suppress(OSError):
            process.bound_log(self._log, _LOG_BYTES)
        durable.write(settings.lazy_config, self._config())
        return process.start(self._argv, log=self._log, environment=sandbox.environment())

    async def _rested(self) -> bool:
        """If there is nothing to fetch, end who did it, also one that an earlier daemon left.

        Where images may be used so it is there before the first one is: to start it takes a second.
        """
        async with self._recording:
            if self._awaits or await self._begun():
                return False
            self._up.clear()
            for other in await asyncio.to_thread(process.find, self._argv):
                await other.end()
                other.close()
            await self._end()
            await asyncio.to_thread(clean, self._folder)
            return True

    async def _end(self) -> None:
        self._up.clear()
        current, self._process = self._process, None
        if current is not None:
            await current.end()
            current.close()


def _records(folder: Path) -> list[tuple[LazyFiles, LazyRecord]]:
    """All but damaged ones. Blocks."""
    found = []
    for places in begun(folder):
        try:
            found.append((places, LazyRecord.read(places)))
        except FileNotFoundError:
            continue
        except PermanentError as err:
            _log.error("%s", err.message)
    return found


def _place(places: LazyFiles, record: LazyRecord) -> Path:
    """Of the image."""
    return cached_path(places.folder, record.layer.digest, record.disk.format)
