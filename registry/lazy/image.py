"""One image on its way to this node: read from where it has come already, fetched where it has not.

A chunk is kept once its digest is right, and nobody sees it before. What guests wait for comes first; the rest is
fetched in order while none does. Whole and once more compared, the file gets the name that says so.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import orjson

from hyperd import durable
from hyperd.background import hear, to_the_end
from hyperd.backoff import backoff
from hyperd.errors import HyperdError
from hyperd.imagefile import files
from hyperd.imagefile.growth import guard_reserve
from hyperd.imagefile.lazy import FetchState, LazyFiles
from registry import layout
from registry.lazy.demand import Demand
from registry.lazy.record import LazyRecord
from registry.lazy.stretches import stretches
from registry.spool import cached_path

Fetch = Callable[[LazyRecord, int, int], Awaitable[bytes]]
"""Bytes of an image by offset and length; raises HyperdError where they do not come."""

FIRST_BYTES: Final = 2 << 20
"""What a QEMU reads before it does anything else, with its tables, is mostly among these."""
_RUN_BYTES: Final = 4 << 20
"""The most that is asked for at a time."""
_BUSY_RUN_BYTES: Final = 1 << 20
"""While a guest was waiting just now: it would wait for the rest of that."""
_AHEAD_BYTES: Final = 2 << 20
"""Fetched before a guest that reads in order wants it; half of that at a time."""
_LOOK_SECONDS: Final = 0.05
_SAVE_SECONDS: Final = 2.0
_LAST_WAIT_SECONDS: Final = 5.0
_TRIES: Final = 2
"""Of a chunk that comes wrong, before its reader is told."""
_FAULT_SECONDS: Final = 15.0
"""After which a wrong chunk is fetched again."""
_BLOCK: Final = 2 << 20


class DamagedError(Exception):
    """What the registry has is not the image; ``str()`` is a sentence."""


class LazyImage:
    """The image of one record. ``read`` any time between ``open`` and ``close``."""

    def __init__(
        self, record: LazyRecord, places: LazyFiles, fetch: Fetch, *, demand: Demand, reserve: int
    ) -> None:
        """``reserve`` bytes of the disk stay free."""
        self.size = record.disk.size
        self.readers = 0
        """Connections of guests."""
        self._record, self._files, self._fetch = record, places, fetch
        self._demand, self._reserve = demand, reserve
        self._chunk, self._count = record.chunks.size, len(record.chunks)
        self._have = bytearray(self._count)
        self._saved = bytes(self._have)
        """What of that outlives this host."""
        self._missing = self._count
        self._coming: dict[int, asyncio.Task[None]] = {}
        self._faults: dict[int, str] = {}
        self._refused: set[int] = set()
        """Of chunks that were wrong when a guest wanted them, and maybe are right by now."""
        self._false = ""
        """Why nothing of it may be read."""
        self._trouble = ""
        self._fetched_bytes, self._began = 0, time.monotonic()
        self._unsaved = False
        self._told: FetchState | None = None
        self._last_read = -1
        self.whole = False
        """Whether the file has its own name."""
        self._fd = -1

    @property
    def path(self) -> os.PathLike[str]:
        """The place of the whole image."""
        return cached_path(self._files.folder, self._record.layer.digest, self._record.disk.format)

    def is_lost(self) -> bool:
        """Whether the file was whole, and somebody has removed it. Blocks."""
        return self.whole and not os.path.exists(self.path)

    async def open(self) -> None:
        """Raises OSError."""
        await to_the_end(self._open)

    async def close(self) -> None:
        """What came is kept. No read is under way any more."""
        for task in set(self._coming.values()):
            task.cancel()
        await asyncio.gather(*set(self._coming.values()), return_exceptions=True)
        if self._fd >= 0:
            await to_the_end(self._save)
            os.close(self._fd)
            self._fd = -1

    async def read(self, offset: int, length: int) -> bytes:
        """What is there; waits, for as long as it takes, for what is not. Raises DamagedError, OSError."""
        if self._false:
            self._refused.add(0)
            raise DamagedError(self._false)
        first, last = offset // self._chunk, (offset + length - 1) // self._chunk
        if self._missing and not all(self._have[first : last + 1]):
            self._demand.waiting += 1
            try:
                await self._need(first, last)
            except DamagedError:
                self._refused.update(range(first, last + 1))
                raise
            finally:
                self._demand.waiting -= 1
                self._demand.last = time.monotonic()
        in_order = self._last_read in (first - 1, first) and last > 0
        self._last_read = last
        if self._missing and in_order:
            self._read_ahead(last + 1)
        return await _pread(self._fd, length, offset)

    async def run(self) -> None:
        """Fetch all of it, and give it its name; returns then. Raises OSError."""
        while not self.whole:
            await self._fetch_all()
            if not self.whole:
                await self._publish()

    async def _fetch_all(self) -> None:
        saved = time.monotonic()
        while self._missing:
            for first, last in self._runs():
                await self._await_turn()
                if await to_the_end(self._take_whole):
                    return
                try:
                    await self._need(first, last)
                except DamagedError:
                    continue
                if time.monotonic() - saved >= _SAVE_SECONDS:
                    await to_the_end(self._save)
                    saved = time.monotonic()
            if self._missing:
                await asyncio.sleep(_FAULT_SECONDS)

    def state(self) -> FetchState:
        seconds = max(time.monotonic() - self._began, 0.001)
        fault = self._false or next(iter(self._faults.values()), "")
        return FetchState(
            fetched=self.size if self.whole else min(self.size, (self._count - self._missing) * self._chunk),
            size=self.size,
            speed=int(self._fetched_bytes / seconds),
            fault=fault,
            refused=bool(self._refused and (self._false or not self._refused.isdisjoint(self._faults))),
            trouble="" if self.whole else self._trouble,
            readers=self.readers,
        )

    def tell(self) -> None:
        """Write the state where the daemon reads it. Blocks; raises OSError."""
        state = self.state()
        if state == self._told:
            return
        body = {name: getattr(state, name) for name in state.__dataclass_fields__}
        made = files.temporary(self._files.state)
        made.write_bytes(orjson.dumps(body))
        os.replace(made, self._files.state)
        self._told = state

    def _read_ahead(self, first: int) -> None:
        """Begin to fetch what a guest will want that reads on, once much of it is missing."""
        most = max(1, _AHEAD_BYTES // self._chunk)
        last = min(first + most, self._count) - 1
        runs = list(stretches(first, last, self._is_wanted))
        if 2 * sum(end - start + 1 for start, end in runs) >= most:
            for start, end in runs:
                self._begin(start, end)

    async def _need(self, first: int, last: int) -> None:
        """Have these chunks. Whoever needs one that is on its way waits for that."""
        for run_first, run_last in stretches(first, last, self._is_wanted):
            step = max(1, _RUN_BYTES // self._chunk)
            for start in range(run_first, run_last + 1, step):
                self._begin(start, min(start + step - 1, run_last))
        for number in range(first, last + 1):
            while not self._have[number]:
                task = self._coming.get(number)
                if task is None:
                    self._begin(number, number)
                    continue
                await asyncio.shield(task)

    def _is_wanted(self, number: int) -> bool:
        return not self._have[number] and number not in self._coming

    def _begin(self, first: int, last: int) -> None:
        task = asyncio.create_task(self._bring(first, last), name=f"chunks {first}-{last}")
        for number in range(first, last + 1):
            self._coming[number] = task

        def end(_: asyncio.Task[None]) -> None:
            hear(task)  # those fetched ahead have no reader
            for number in range(first, last + 1):
                self._coming.pop(number, None)

        task.add_done_callback(end)

    async def _bring(self, first: int, last: int) -> None:
        """However long the registry is away. DamagedError once it sends something else again."""
        offset, wrong, failures = first * self._chunk, 0, 0
        length = min(self.size, (last + 1) * self._chunk) - offset
        while not self.whole:
            try:
                await asyncio.to_thread(guard_reserve, self._files.folder, self._reserve, length)
                content = await self._fetch(self._record, offset, length)
                bad = await to_the_end(self._keep, first, offset, content)
            except (HyperdError, OSError) as err:
                failures += 1
                self._trouble = err.message if isinstance(err, HyperdError) else f"{err.strerror}."
                await asyncio.sleep(backoff(failures, first=0.2, last=_LAST_WAIT_SECONDS))
                continue
            self._trouble = ""
            self._fetched_bytes += length
            if not bad:
                return
            wrong += 1
            if wrong >= _TRIES:
                sentence = (
                    f"The registry sends something else than image {self._record.layer.digest} of "
                    f"{self._record.repository} has at byte {bad[0] * self._chunk}."
                )
                self._faults.update(dict.fromkeys(bad, sentence))
                raise DamagedError(sentence)

    def _keep(self, first: int, offset: int, content: bytes) -> list[int]:
        """Write those that are right; the others are returned. Blocks."""
        view, bad = memoryview(content), []
        for start in range(0, len(content), self._chunk):
            number, piece = first + start // self._chunk, view[start : start + self._chunk]
            if not self._record.chunks.matches(number, piece):
                bad.append(number)
                continue
            if os.pwrite(self._fd, piece, offset + start) != len(piece):
                raise OSError(errno.ENOSPC, "No space left on the disk")
            if not self._have[number]:
                self._have[number] = 1
                self._missing -= 1
                self._unsaved = True
            self._faults.pop(number, None)
        return bad

    def _runs(self) -> Iterator[tuple[int, int]]:
        """What is still missing, a piece at a time, by what is missing then."""
        number = 0
        while number < self._count:
            if not self._is_wanted(number):
                number += 1
                continue
            most = _RUN_BYTES if self._demand.calm else _BUSY_RUN_BYTES
            if (self._count - self._missing) * self._chunk < FIRST_BYTES:
                most = 0  # whoever has begun this waits for it
            last = number
            end = min(self._count, number + max(1, most // self._chunk))
            while last + 1 < end and self._is_wanted(last + 1):
                last += 1
            yield number, last
            number = last + 1

    async def _await_turn(self) -> None:
        while not self._demand.idle:
            await asyncio.sleep(_LOOK_SECONDS)

    def _open(self) -> None:
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            pass
        else:
            self._missing, self.whole = 0, True
            return
        self._fd = os.open(self._files.data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        had = os.fstat(self._fd).st_size
        os.ftruncate(self._fd, self.size)
        try:
            known = self._files.map.read_bytes()
        except FileNotFoundError:
            return
        if len(known) == self._count and had == self.size:
            self._saved = bytes(1 if one == 1 else 0 for one in known)
            self._have_only(self._saved)

    def _have_only(self, known: bytes) -> None:
        self._have[:] = known
        self._missing = self._count - sum(known)

    def _take_whole(self) -> bool:
        """Somebody who could not wait has fetched all of it: go on with that."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        os.dup2(fd, self._fd, inheritable=False)  # reads that are under way end as they began
        os.close(fd)
        self._have[:] = b"\1" * self._count
        self._missing, self.whole = 0, True
        return True

    def _save(self) -> None:
        """What came is not fetched again after a crash. What could not be kept is: it may be gone. OSError."""
        if not self._unsaved or self.whole:
            return
        known = bytes(self._have)
        self._unsaved = False
        try:
            os.fdatasync(self._fd)
        except OSError:  # told once, and what was to be written counts as written from now on
            self._have_only(self._saved)
            raise
        durable.write(self._files.map, known)
        self._saved = known

    async def _publish(self) -> None:
        """The digests of the chunks come with the image, and so does the layer's: here both are one file's."""
        digest = await to_the_end(self._digest)
        if digest != self._record.layer.digest:
            if await to_the_end(self._forget_rotten):
                return
            self._false = (
                f"The parts of image {self._record.layer.digest} of {self._record.repository} are as its config "
                f"says, but together they are {digest}."
            )
            await asyncio.Event().wait()
        await to_the_end(self._name)

    def _digest(self) -> str:
        """Of the layer that the file comes out of."""
        kind, hash_ = self._record.disk.format, hashlib.sha256()
        hash_.update(layout.header(kind, self.size))
        for offset in range(0, self.size, _BLOCK):
            hash_.update(self._there(offset, min(_BLOCK, self.size - offset)))
        hash_.update(layout.trailer(self.size))
        return f"sha256:{hash_.hexdigest()}"

    def _there(self, offset: int, length: int) -> bytes:
        content = os.pread(self._fd, length, offset)
        if len(content) != length:
            raise OSError(errno.EIO, f"the disk reads less of {self._files.data} than it has")
        return content

    def _forget_rotten(self) -> int:
        """Of what this host's own disk has lost nothing counts as there; returns how many chunks. Blocks."""
        known = bytes(self._is_right(number) for number in range(self._count))
        self._have_only(known)
        self._saved = known
        durable.write(self._files.map, known)
        return self._missing

    def _is_right(self, number: int) -> bool:
        offset = number * self._chunk
        return self._record.chunks.matches(
            number, memoryview(self._there(offset, min(self._chunk, self.size - offset)))
        )

    def _name(self) -> None:
        if os.geteuid() == 0:
            os.fchown(self._fd, 0, 0)
        os.fchmod(self._fd, 0o444)
        os.fsync(self._fd)
        os.replace(self._files.data, self.path)
        durable.sync(self._files.folder)
        self._files.map.unlink(missing_ok=True)
        self.whole = True


async def _pread(fd: int, length: int, offset: int) -> bytes:
    """From memory at once where it is there; else in a thread, as a disk may take its time."""
    buffer = bytearray(length)
    try:
        if os.preadv(fd, [buffer], offset, os.RWF_NOWAIT) == length:
            return bytes(buffer)
    except OSError as err:
        if err.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
            raise
    return await to_the_end(os.pread, fd, length, offset)
