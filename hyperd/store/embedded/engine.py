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
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from hyperd.errors import HyperdError, InternalError, ServiceUnavailable, Timeout
from hyperd.store.embedded import reserve
from hyperd.store.embedded.backup import Copy
from hyperd.store.embedded.database import Database, open_database
from hyperd.store.embedded.schema import MIGRATIONS, Migration, event_sum, get_meta, object_sum, set_meta
from hyperd.store.interface import EventType
from hyperd.store.records import Change, LogRow
from hyperd.waking import Waking

T = TypeVar("T")

ObjectRow = tuple[str, str, int, bytes]
"""group, plural, rv, body."""

OnCommit = Callable[[Sequence[Change]], None]

_WOKEN = 4
"""Writers who hear of their commit in one turn of the event loop: each has an answer to make."""

RETRY_SECONDS = 5
"""When a client may try again after the disk failed."""

_log = logging.getLogger(__name__)

_PUT = (
    "INSERT INTO obj(grp, plural, ns, name, uid, rv, body, sum) VALUES(?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET uid = excluded.uid, rv = excluded.rv, body = excluded.body, sum = excluded.sum"
)
_DROP = "DELETE FROM obj WHERE grp = ? AND plural = ? AND ns = ? AND name = ?"
_NOTE = "INSERT INTO log(rv, type, grp, plural, ns, name, body, before, sum) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"


_WEIGHT = "length(body) + coalesce(length(before), 0)"


def _logged(db: apsw.Connection) -> int:
    """What the bodies in the log take."""
    return int(next(db.execute(f"SELECT coalesce(sum({_WEIGHT}), 0) FROM log"))[0])  # noqa: S608  no input


def _weight(change: Change) -> int:
    return len(change.item.raw) + (len(change.previous.raw) if change.previous is not None else 0)


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
        log_bytes: int = 0,
        on_commit: OnCommit,
        migrations: Sequence[Migration] = MIGRATIONS,
        vfs: str = "",
    ) -> None:
        self.path = path
        self.instance_id = ""
        self.floor = 0
        """Watches can resume from here on; what happened before is pruned."""
        self._log_events = log_events
        self._log_limit = log_bytes
        self._log_bytes = 0
        """What the bodies in the log take."""
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
        self._ailing = False
        self._copying = asyncio.Lock()
        self._waking = Waking(_WOKEN)
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._opened: Database | None = None

    async def open(self) -> None:
        """Open the file. Raises PermanentError when that cannot or must not be done."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._thread.start()
        try:
            await self._call(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was submitted, then close the file. Safe to call at any time, and twice."""
        if self._thread is None:
            return
        while self._busy or self._pending:
            await self._call(int)
        thread, self._thread, self._closed = self._thread, None, True
        try:
            await self._call(self._shut)
        finally:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

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
        """A consistent copy of the file while it is in use. Raises ServiceUnavailable."""
        async with self._copying:
            copy = Copy(self._database.connection, target)
            try:
                while not await self._call(copy.step):
                    pass
            except (apsw.Error, OSError) as err:
                await self._call(copy.abandon)
                raise ServiceUnavailable(f"The store was not copied to {target}: {err}.") from err
            except BaseException:
                await self._call(copy.abandon)
                raise

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

    def _committed(self, batch: list[tuple[Change, _Commit]], error: HyperdError | None, floor: int) -> None:
        self._busy = False
        self.floor = floor
        if error is None:
            try:
                self._on_commit([change for change, _ in batch])
            except Exception:  # noqa: BLE001  border: what is durable is acknowledged, and no writer hangs
                _log.exception("A change that was committed could not be told to everybody")
        for _, future in batch:
            self._waking.wake(future, error)
        self._flush()

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

    @property
    def _database(self) -> Database:
        if self._opened is None:
            raise ServiceUnavailable(f"The store {self.path} is not open.")
        return self._opened

    def _shut(self) -> None:
        database, self._opened = self._opened, None
        if database is not None:
            database.close()

    def _open(self) -> None:
        self._opened = open_database(self.path, migrations=self._migrations, vfs=self._vfs)
        self.instance_id = self._database.instance_id
        self.floor = int(get_meta(self._database.connection, "rv_floor") or 0)
        self._log_bytes = _logged(self._database.connection)
        reserve.hold(self.path)

    def _commit(self, batch: list[tuple[Change, _Commit]]) -> None:
        floor = self.floor
        failure: HyperdError | None = None
        try:
            floor = self._transact([change for change, _ in batch])
            self._note_trouble(None)
        except apsw.Error as err:
            failure = self._undo(err)
        except Exception as err:  # noqa: BLE001  border: the thread outlives a defect, and its callers hear of it
            _log.exception("A commit failed")
            self._undo(apsw.Error(str(err)))
            failure = InternalError("The store could not make the change; the log says why.")
        self._loop.call_soon_threadsafe(self._committed, batch, failure, floor)

    def _transact(self, changes: Sequence[Change]) -> int:
        """Commit ``changes``; the new floor. Raises apsw.Error."""
        db = self._database.connection
        floor = self.floor
        self._roll_back(db)
        db.execute("BEGIN IMMEDIATE")
        self._write(db, changes)
        self._unpruned += len(changes)
        logged = self._log_bytes + sum(map(_weight, changes))
        pruned = self._unpruned >= max(16, self._log_events // 16) or 0 < self._log_limit < logged
        if pruned:
            floor = self._prune(db, floor)
            logged = _logged(db)
        db.execute("COMMIT")
        self._log_bytes = logged
        if pruned:
            reserve.hold(self.path)
        return floor

    def _note_trouble(self, trouble: apsw.Error | None) -> None:
        """Log when writing begins to fail and when it works again, not each time."""
        if trouble is not None and not self._ailing:
            _log.error("The store %s cannot be written, and is tried again at each write: %s", self.path, trouble)
        elif trouble is None and self._ailing:
            _log.info("The store %s can be written again.", self.path)
        self._ailing = trouble is not None

    def _undo(self, error: apsw.Error) -> HyperdError:
        """Leave nothing of a failed commit behind; what to tell those who wait for it.

        A commit whose last write or sync failed may lie in the WAL whole: after a crash SQLite would take it for
        made. Only another commit, which begins where it began, makes sure that it is gone.
        """
        db = self._database.connection
        self._note_trouble(error)
        if isinstance(error, apsw.FullError):
            # The commit's last frame is not there: nothing to take back.
            self._try(lambda: self._roll_back(db))
            return ServiceUnavailable(
                f"The disk of the store {self.path} is full; nothing was changed. Free some space and try again.",
                retry_after_seconds=RETRY_SECONDS,
            )
        if self._try(lambda: self._seal(db)):
            return ServiceUnavailable(
                f"The store {self.path} cannot be written; nothing was changed: {error}.",
                retry_after_seconds=RETRY_SECONDS,
            )
        return Timeout(
            f"The store {self.path} cannot be written: {error}. The change is not visible; if hyperd is restarted "
            "before the disk works again, it may turn out to have been made.",
            retry_after_seconds=RETRY_SECONDS,
        )

    def _seal(self, db: apsw.Connection) -> None:
        self._roll_back(db)
        db.execute("BEGIN IMMEDIATE")
        set_meta(db, "sealed", str(time.time_ns()))
        db.execute("COMMIT")

    def _try(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except apsw.Error as err:
            _log.debug("A failed commit could not be taken back: %s", err)
            return False
        return True

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
                row = (*where, item.uid, item.rv, item.raw)
                puts.append((*row, object_sum(*row)))
            before = change.previous.raw if change.previous is not None else None
            note = (item.rv, change.type.value, *where, item.raw, before)
            notes.append((*note, event_sum(*note)))
        if puts:
            db.executemany(_PUT, puts)
        if drops:
            db.executemany(_DROP, drops)
        db.executemany(_NOTE, notes)

    def _prune(self, db: apsw.Connection, floor: int) -> int:
        self._unpruned = 0
        sql = "SELECT rv FROM log ORDER BY rv DESC LIMIT 1 OFFSET ?"
        cut = max((int(rv) for (rv,) in db.execute(sql, (self._log_events,))), default=0)
        cut = max(cut, self._too_much(db))
        if not cut:
            return floor
        db.execute("DELETE FROM log WHERE rv <= ?", (cut,))
        set_meta(db, "rv_floor", str(cut))
        return cut

    def _too_much(self, db: apsw.Connection) -> int:
        """The youngest event that must go for the log to be well below its limit in bytes; 0 when none must."""
        if not 0 < self._log_limit < _logged(db):
            return 0
        kept = 0
        for rv, weight in db.execute(f"SELECT rv, {_WEIGHT} FROM log ORDER BY rv DESC"):  # noqa: S608  no input
            kept += weight
            if kept > self._log_limit * 3 // 4:
                return int(rv)
        return 0

    def _roll_back(self, db: apsw.Connection) -> None:
        if not db.get_autocommit():
            db.execute("ROLLBACK")
