"""The file: opened, locked, checked and brought to the schema of this version.

The rules it keeps: one daemon a file; a library with SQLite's WAL-reset fault is refused; a file that is damaged,
foreign or newer is refused with a sentence that says what to do, and is not written to; a migration happens in
one transaction, after a copy of the file was made beside it.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from hyperd.errors import PermanentError

OLDEST_SQLITE = (3, 51, 3)
"""Older libraries can corrupt a WAL file when a write meets a checkpoint."""

Migration = Callable[[apsw.Connection], None]


def _first_schema(db: apsw.Connection) -> None:
    db.execute("""
        CREATE TABLE obj(
            id INTEGER PRIMARY KEY,
            grp TEXT NOT NULL, plural TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL,
            uid TEXT NOT NULL, rv INTEGER NOT NULL, body BLOB NOT NULL,
            UNIQUE(grp, plural, ns, name)
        );
        CREATE TABLE log(
            rv INTEGER PRIMARY KEY, type TEXT NOT NULL,
            grp TEXT NOT NULL, plural TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL,
            body BLOB NOT NULL, before BLOB
        );
    """)


MIGRATIONS: tuple[Migration, ...] = (_first_schema,)
"""Numbered from 1, forward only: what is released is never changed, only followed."""


@dataclass(frozen=True)
class Database:
    """An open file, and the descriptor whose lock keeps other daemons off it."""

    connection: apsw.Connection
    lock: int
    instance_id: str

    def close(self) -> None:
        """Fold the WAL into the file, close it and let others have it."""
        try:
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except apsw.Error:
            # The WAL stays, and the next start reads it: nothing committed is lost.
            pass
        finally:
            self.connection.close()
            os.close(self.lock)


def open_database(path: Path, *, migrations: Sequence[Migration] = MIGRATIONS, vfs: str = "") -> Database:
    """Open or create the store at ``path``. Raises PermanentError with what to do about it.

    ``vfs`` names a registered SQLite file layer; empty is the system's.
    """
    check_library(apsw.sqlite_lib_version())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = _lock(path)
    except OSError as err:
        raise PermanentError(f"The store {path} cannot be opened: {err.strerror}.") from err
    connection: apsw.Connection | None = None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path), vfs=vfs or None)
        _configure(connection)
        _check(connection, path)
        _migrate(connection, path, migrations)
        return Database(connection, lock, _instance_id(connection))
    except (apsw.Error, OSError) as err:
        _abandon(connection, lock)
        raise PermanentError(_explain(path, err)) from err
    except PermanentError:
        _abandon(connection, lock)
        raise


def check_library(version: str) -> None:
    """Refuse a SQLite older than the WAL-reset fix."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise PermanentError(
            f"SQLite {version} can corrupt the store; hyperd needs {wanted} or newer. Install a newer apsw."
        )


def set_meta(db: apsw.Connection, key: str, value: str) -> None:
    """Write one entry of the meta table, in the transaction that is open."""
    db.execute("INSERT INTO meta VALUES(?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value))


def get_meta(db: apsw.Connection, key: str) -> str:
    """One entry of the meta table, "" where there is none."""
    for (value,) in db.execute("SELECT value FROM meta WHERE key = ?", (key,)):
        return str(value)
    return ""


def backup_to(db: apsw.Connection, target: Path) -> None:
    """A consistent copy of the store in a new file that only its owner may read. Raises PermanentError."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db.execute("VACUUM INTO ?", (str(part),))
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    except (apsw.Error, OSError) as err:
        part.unlink(missing_ok=True)
        raise PermanentError(f"The store was not copied to {target}: {err}.") from err


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lock(path: Path) -> int:
    """Lock a file beside the store: closing a descriptor of the store itself would drop SQLite's own locks."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise PermanentError(
            f"The store {path} is in use by another hyperd (process {holder}). "
            "Stop that one, or give this daemon a state_dir of its own."
        ) from err
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _configure(db: apsw.Connection) -> None:
    # Exclusive before WAL: the index of the WAL then lives in memory, and nobody else can open the file.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 16777216")
    db.execute("PRAGMA temp_store = MEMORY")


def _check(db: apsw.Connection, path: Path) -> None:
    for (verdict,) in db.execute("PRAGMA quick_check(1)"):
        if verdict != "ok":
            raise PermanentError(
                f"The store {path} is damaged ({verdict}). Move it away and put a backup in its place; "
                "running VMs are not touched."
            )


def _migrate(db: apsw.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "meta" not in tables:
        raise PermanentError(f"{path} is a database, but not a store of hyperd's. Set another state_dir.")
    version = int(get_meta(db, "schema_version") or 0) if tables else 0
    if version > len(migrations):
        raise PermanentError(
            f"The store {path} has schema {version}; this hyperd knows up to {len(migrations)}. "
            "Install the newer hyperd again, or restore the backup that its start made beside the file."
        )
    if version == len(migrations):
        return
    if version:
        backup_to(db, path.with_name(f"{path.name}.v{version}.bak"))
    with db:
        if not tables:
            db.execute("CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        for migration in migrations[version:]:
            migration(db)
        set_meta(db, "schema_version", str(len(migrations)))


def _instance_id(db: apsw.Connection) -> str:
    found = get_meta(db, "instance_id")
    if not found:
        found = str(uuid.uuid4())
        set_meta(db, "instance_id", found)
    return found


def _abandon(connection: apsw.Connection | None, lock: int) -> None:
    if connection is not None:
        connection.close()
    os.close(lock)


def _explain(path: Path, err: Exception) -> str:
    if isinstance(err, apsw.NotADBError | apsw.CorruptError):
        return (
            f"The store {path} is damaged or not a database ({err}). Move it away and put a backup in its "
            "place; running VMs are not touched."
        )
    if isinstance(err, apsw.BusyError):
        return f"The store {path} is open in another program. Close that one first."
    if isinstance(err, apsw.FullError):
        return f"The store {path} cannot be opened: its disk is full. Free some space and start again."
    return f"The store {path} cannot be opened: {err}."
