"""One connection in one thread: what makes a write durable.

The rule it keeps: group commit. While the thread commits a batch, further changes gather on the loop and become
the next batch, so the cost of a sync is shared by all that wait for it. A caller hears of success after COMMIT,
never before, and changes are applied to memory in the order of their resourceVersions.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from hyperd.errors import ServiceUnavailable
from hyperd.store import reserve
from hyperd.store.database import MIGRATIONS, Database, Migration, backup_to, get_meta, open_database, set_meta
from hyperd.store.interface import EventType
from hyperd.store.records import Change, LogRow

T = TypeVar("T")

ObjectRow = tuple[str, str, int, bytes]
"""group, plural, rv, body."""

OnCommit = Callable[[Sequence[Change]], None]

_log = logging.getLogger(__name__)

_PUT = (
    "INSERT INTO obj(grp, plural, ns, name, uid, rv, body) VALUES(?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET uid = excluded.uid, rv = excluded.rv, body = excluded.body"
)
_DROP = "DELETE FROM obj WHERE grp = ? AND plural = ? AND ns = ? AND name = ?"
_NOTE = "INSERT INTO log VALUES(?, ?, ?, ?, ?, ?, ?, ?)"


class _Commit(asyncio.Future[None]):
    """A commit cannot be called back: who waits for it is cancelled once it has arrived, and not before."""

    def cancel(self, msg: Any | None = None) -> bool:
        return False


class Engine:
    """The writer thread. ``open`` before use, ``close`` at the end; both on the loop that uses it."""

    def __init__(
        self,
        path: Path,
        *,
        log_events: int,
        on_commit: OnCommit,
        migrations: Sequence[Migration] = MIGRATIONS,
        vfs: str = "",
    ) -> None:
        self.path = path
        self.instance_id = ""
        self.floor = 0
        """Watches can resume from here on; what happened before is pruned."""
        self._log_events = log_events
        self._on_commit = on_commit
        self._migrations = migrations
        self._vfs = vfs
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._pending: list[tuple[Change, _Commit]] = []
        self._busy = False
        self._scheduled = False
        self._closed = False
        self._alone = True
        self._unpruned = 0
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._database: Database

    async def open(self) -> None:
        """Open the file. Raises PermanentError when that cannot or must not be done."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._thread.start()
        try:
            await self._call(self._open)
        except BaseException:
            self._jobs.put(None)
            raise

    async def close(self) -> None:
        """Finish what was submitted, then close the file."""
        if self._thread is None:
            return
        while self._busy or self._pending:
            await self._call(int)
        self._closed = True
        await self._call(self._database.close)
        self._jobs.put(None)
        self._thread = None

    async def load(self) -> tuple[list[ObjectRow], int]:
        """All objects, and the resourceVersion of the last write."""

        def read(db: apsw.Connection) -> tuple[list[ObjectRow], int]:
            rows = list(db.execute("SELECT grp, plural, rv, body FROM obj"))
            last = next(db.execute("SELECT max(rv) FROM log"))[0]
            return rows, max(last or 0, self.floor)

        return await self.read(read)

    async def read(self, fn: Callable[[apsw.Connection], T]) -> T:
        """Run ``fn`` with the connection, between two batches. Raises ServiceUnavailable for a bad file."""
        try:
            return await self._call(lambda: fn(self._database.connection))
        except apsw.Error as err:
            raise ServiceUnavailable(f"The store {self.path} cannot be read: {err}.") from err

    async def replay(self, group: str, plural: str, *, after: int, until: int, limit: int) -> list[LogRow]:
        """Up to ``limit`` rows of the log with ``after`` < rv <= ``until``, in order."""
        sql = (
            "SELECT rv, type, body, before FROM log "
            "WHERE rv > ? AND rv <= ? AND grp = ? AND plural = ? ORDER BY rv LIMIT ?"
        )
        return await self.read(lambda db: list(db.execute(sql, (after, until, group, plural, limit))))

    async def knows(self, rv: int) -> bool:
        """Whether ``rv`` was given out by this very history and is still in the log."""
        found = await self.read(lambda db: list(db.execute("SELECT 1 FROM log WHERE rv = ?", (rv,))))
        return bool(found) or rv == self.floor

    async def backup(self, target: Path) -> None:
        """A consistent copy of the file while it is in use."""
        await self._call(lambda: backup_to(self._database.connection, target))

    def submit(self, change: Change) -> asyncio.Future[None]:
        """Have ``change`` committed; the future resolves once it is durable and applied.

        It fails with ServiceUnavailable when the file cannot be written; nothing has changed then.
        """
        future = _Commit(loop=self._loop)
        if self._closed:
            future.set_exception(ServiceUnavailable("The store is closing; nothing was changed."))
            return future
        self._pending.append((change, future))
        if self._busy or self._scheduled:
            return future
        if self._alone:
            self._flush()
        else:
            # At the end of this turn of the loop: what other tasks submit in it shares the commit.
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._scheduled = False
        if self._busy or not self._pending:
            return
        self._busy = True
        batch, self._pending = self._pending, []
        self._alone = len(batch) == 1
        self._jobs.put(lambda: self._commit(batch))

    def _committed(self, batch: list[tuple[Change, _Commit]], error: apsw.Error | None, floor: int) -> None:
        self._busy = False
        self.floor = floor
        if error is None:
            self._on_commit([change for change, _ in batch])
        for _, future in batch:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(self._trouble(error))
        self._flush()

    def _trouble(self, error: apsw.Error) -> ServiceUnavailable:
        if isinstance(error, apsw.FullError):
            text = (
                f"The disk of the store {self.path} is full; nothing was changed. Free some space and try again."
            )
        else:
            text = f"The store {self.path} cannot be written; nothing was changed: {error}."
        return ServiceUnavailable(text, retry_after_seconds=5)

    async def _call(self, fn: Callable[[], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()

        def settle(value: Any, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def job() -> None:
            try:
                value = fn()
            except Exception as err:  # noqa: BLE001  border: the thread hands every failure to its caller
                self._loop.call_soon_threadsafe(settle, None, err)
            else:
                self._loop.call_soon_threadsafe(settle, value, None)

        self._jobs.put(job)
        return await future

    # From here on: in the writer thread.

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _open(self) -> None:
        self._database = open_database(self.path, migrations=self._migrations, vfs=self._vfs)
        self.instance_id = self._database.instance_id
        self.floor = int(get_meta(self._database.connection, "rv_floor") or 0)
        reserve.hold(self.path)

    def _commit(self, batch: list[tuple[Change, _Commit]]) -> None:
        db = self._database.connection
        floor = self.floor
        error: apsw.Error | None = None
        try:
            db.execute("BEGIN IMMEDIATE")
            self._write(db, [change for change, _ in batch])
            self._unpruned += len(batch)
            if self._unpruned >= max(16, self._log_events // 16):
                floor = self._prune(db, floor)
            db.execute("COMMIT")
            if not self._unpruned:
                reserve.hold(self.path)
        except apsw.Error as err:
            error = err
            floor = self.floor
            self._roll_back(db)
        self._loop.call_soon_threadsafe(self._committed, batch, error, floor)

    def _write(self, db: apsw.Connection, changes: Sequence[Change]) -> None:
        puts = []
        drops = []
        notes = []
        for change in changes:
            kind, item = change.kind, change.item
            where = (kind.group, kind.plural, item.namespace, item.name)
            if change.type is EventType.DELETED:
                drops.append(where)
            else:
                puts.append((*where, item.uid, item.rv, item.raw))
            before = change.previous.raw if change.previous is not None else None
            notes.append((item.rv, change.type.value, *where, item.raw, before))
        if puts:
            db.executemany(_PUT, puts)
        if drops:
            db.executemany(_DROP, drops)
        db.executemany(_NOTE, notes)

    def _prune(self, db: apsw.Connection, floor: int) -> int:
        self._unpruned = 0
        sql = "SELECT rv FROM log ORDER BY rv DESC LIMIT 1 OFFSET ?"
        for (rv,) in db.execute(sql, (self._log_events,)):
            db.execute("DELETE FROM log WHERE rv <= ?", (rv,))
            set_meta(db, "rv_floor", str(rv))
            return int(rv)
        return floor

    def _roll_back(self, db: apsw.Connection) -> None:
        try:
            if not db.get_autocommit():
                db.execute("ROLLBACK")
        except apsw.Error as err:
            _log.error("The store %s could not roll back: %s", self.path, err)
