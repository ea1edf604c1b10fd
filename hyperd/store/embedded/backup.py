"""Copies of the store while it is in use, and the way back from one.

The rules they keep: a copy is one moment of the store, made in small steps between its commits; versions that a
restored store hands out no client has seen before, so that whoever followed the old one lists anew; it has an id
of its own, so that what the host holds of machines and disks it does not know is never taken for garbage; and the
store that it replaces is kept.
"""

from __future__ import annotations

import os
import secrets
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import apsw

from hyperd import clock, durable
from hyperd.errors import PermanentError
from hyperd.store.embedded.database import PART, lock_store, mark_used, open_database
from hyperd.store.embedded.integrity import StoreDamaged, wal_of
from hyperd.store.embedded.schema import get_meta, set_meta
from hyperd.store.records import VERSIONS_PER_SECOND

STEP_PAGES = 256
"""1 MiB a step: a commit that waits for one does not notice."""

_LEAP = 10**9
"""How far a restored counter is ahead of all that is known to have been given out."""


class Copy:
    """One copy on its way, in the thread of the connection: ``step`` until it says True, or ``abandon``.

    ``target`` appears once it is whole, for its owner alone.
    """

    def __init__(self, source: apsw.Connection, target: Path) -> None:
        self._source = source
        self._target = target
        self._part = target.with_name(f"{target.name}.{secrets.token_hex(4)}{PART}")
        self._copy: apsw.Connection | None = None
        self._backup: apsw.Backup | None = None

    def step(self) -> bool:
        """Copy some more; True once the copy is whole and on the disk. Raises apsw.Error, OSError."""
        if self._copy is None or self._backup is None:
            self._copy, self._backup = self._begin()
        if not self._backup.step(STEP_PAGES):
            return False
        # In the same step, so that no commit comes between.
        self._backup.finish()
        self._copy.close()
        durable.publish(self._part, self._target)
        return True

    def abandon(self) -> None:
        """Remove what was copied."""
        if self._backup is not None:
            self._backup.close(True)
        if self._copy is not None:
            self._copy.close(True)
        self._part.unlink(missing_ok=True)

    def _begin(self) -> tuple[apsw.Connection, apsw.Backup]:
        os.close(os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        copy = apsw.Connection(str(self._part))
        # Nobody reads it before it is whole; a sync at the end is enough.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        return copy, copy.backup("main", self._source, "main")


@dataclass(frozen=True)
class Restored:
    """What a restore did: how many objects are there now, and where the replaced store is ("" when none was)."""

    objects: int
    replaced: str


def restore(backup: Path, path: Path) -> Restored:
    """Put a copy of ``backup`` in the place of the store at ``path``. Raises PermanentError; nothing changed then.

    Killed on the way, it leaves the old store, the new one, or none, which the daemon refuses to start without.
    """
    try:
        if not backup.is_file():
            raise PermanentError(f"There is no backup {backup}.")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = lock_store(path)
        try:
            return _replace(backup, path, lock)
        finally:
            os.close(lock)
    except OSError as err:
        raise PermanentError(f"The store {path} was not restored from {backup}: {err}.") from err


def _replace(backup: Path, path: Path, lock: int) -> Restored:
    if path.exists() and backup.samefile(path):
        raise PermanentError(f"{backup} is the store itself, not a backup of it.")
    part = path.with_name(f"{path.name}.restore{PART}")
    _remove(part)
    try:
        for source, target in ((backup, part), (wal_of(backup), wal_of(part))):
            if source.exists():
                shutil.copyfile(source, target)
                target.chmod(0o600)
        objects = _begin_anew(part, known=_last_version(path))
        durable.sync(part)
        if path.exists():
            mark_used(lock)
        replaced = _set_aside(path)
        durable.publish(part, path)
    except StoreDamaged as err:
        raise PermanentError(f"The backup {backup} cannot be restored: {err.how}.") from err
    except PermanentError as err:
        message = err.message.replace(str(part), str(backup))
        raise PermanentError(f"The backup {backup} cannot be restored: {message}") from err
    finally:
        _remove(part)
    return Restored(objects, replaced)


def _begin_anew(part: Path, *, known: int) -> int:
    """Give the copy an id and a counter of its own; how many objects it has. Raises PermanentError if damaged."""
    database = open_database(part)
    db = database.connection
    try:
        given = max(known, _highest(db), int(clock.wall()) * VERSIONS_PER_SECOND)
        with db:
            db.execute("DELETE FROM log")
            set_meta(db, "rv_floor", str(given + _LEAP))
            set_meta(db, "instance_id", str(uuid.uuid4()))
        return int(next(db.execute("SELECT count(*) FROM obj"))[0])
    except apsw.Error as err:
        raise PermanentError(f"The backup could not be prepared: {err}.") from err
    finally:
        database.close()


def _last_version(path: Path) -> int:
    """The last resourceVersion of the store that goes, as far as it can be read."""
    if not path.exists():
        return 0
    try:
        db = apsw.Connection(str(path))
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            return _highest(db)
        finally:
            db.close()
    except (apsw.Error, ValueError, TypeError):
        return 0


def _highest(db: apsw.Connection) -> int:
    (logged,) = next(db.execute("SELECT max(rv) FROM log"))
    (held,) = next(db.execute("SELECT max(rv) FROM obj"))
    return max(logged or 0, held or 0, int(get_meta(db, "rv_floor") or 0))


def _set_aside(path: Path) -> str:
    """Rename the old store, the file before its log: never a file without the log that belongs to it."""
    kept = path.with_name(f"{path.name}.before-restore-{clock.now():%Y%m%dT%H%M%SZ}")
    found = False
    for old, new in ((path, kept), (wal_of(path), wal_of(kept))):
        if old.exists():
            old.rename(new)
            found = True
    return str(kept) if found else ""


def _remove(part: Path) -> None:
    for leftover in part.parent.glob(f"{part.name}*"):
        leftover.unlink()
