"""The file: opened, locked, checked and brought to the schema of this version.

The rules it keeps: one daemon a file; a library with SQLite's WAL-reset fault is refused; a file that is damaged,
foreign, newer, or missing where one was, is refused with a sentence that says what to do, and is not written to; a
migration happens in one transaction, after a copy of the file was made beside it.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from hyperd import durable
from hyperd.errors import PermanentError
from hyperd.store.embedded.integrity import check_files, check_rows, check_schema, check_structure, damaged
from hyperd.store.embedded.schema import (
    MIGRATIONS,
    Migration,
    add_functions,
    create_meta,
    get_meta,
    meta_sum,
    set_meta,
)

OLDEST_SQLITE = (3, 51, 3)
"""Older libraries can corrupt a WAL file when a write meets a checkpoint."""

PART = ".part"
"""Ends the names of copies on their way; what a crash left of them goes at the next start."""

_USED = "used"
"""Stands in the lock file once a store was there."""


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
            _abandon(self.connection, self.lock)


def open_database(path: Path, *, migrations: Sequence[Migration] = MIGRATIONS, vfs: str = "") -> Database:
    """Open or create the store at ``path``. Raises PermanentError with what to do about it.

    ``vfs`` names a registered SQLite file layer; empty is the system's.
    """
    check_library(apsw.sqlite_lib_version())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = lock_store(path)
    except OSError as err:
        raise PermanentError(f"The store {path} cannot be opened: {err.strerror}.") from err
    connection: apsw.Connection | None = None
    try:
        _require(path, lock)
        check_files(path)
        for stale in path.parent.glob(f"{path.name}.*{PART}"):
            stale.unlink()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path), vfs=vfs or None)
        _prepare(connection)
        version = _checked(connection, path, migrations)
        _configure(connection)
        _migrate(connection, path, version, migrations)
        database = Database(connection, lock, _instance_id(connection))
        mark_used(lock)
        return database
    except (apsw.Error, OSError) as err:
        _abandon(connection, lock)
        raise _explain(path, err) from err
    except BaseException:
        _abandon(connection, lock)
        raise


def check_library(version: str) -> None:
    """Refuse a SQLite older than the WAL-reset fix."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise PermanentError(
            f"SQLite {version} can corrupt the store; hyperd needs {wanted} or newer. Install a newer apsw."
        )


def lock_store(path: Path) -> int:
    """Take the store at ``path`` for this process; closing the descriptor lets it go.

    Raises PermanentError, OSError. The lock is on a file beside the store: closing a descriptor of the store
    itself would drop SQLite's own locks.
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        holder = (os.pread(lock, 20, 0).decode(errors="replace").split() or ["unknown"])[0]
        os.close(lock)
        raise PermanentError(
            f"The store {path} is in use by another hyperd (process {holder}). "
            "Stop that one, or give this daemon a state_dir of its own."
        ) from err
    used = _USED in os.pread(lock, 64, 0).decode(errors="replace").split()
    _write_lock(lock, f"{os.getpid()} {_USED}" if used else str(os.getpid()))
    return lock


def _write_lock(lock: int, text: str) -> None:
    os.pwrite(lock, text.encode(), 0)
    os.ftruncate(lock, len(text))


def mark_used(lock: int) -> None:
    """Note beside the store that one was there."""
    _write_lock(lock, f"{os.getpid()} {_USED}")


def _require(path: Path, lock: int) -> None:
    """A store that was here must still be: an empty one in its place would know nothing of what runs."""
    if path.exists() and not path.is_file():
        raise PermanentError(
            f"The store {path} is not a file. Set another state_dir, or put a store's file there."
        )
    if path.exists() and path.stat().st_size:
        return
    if _USED in os.pread(lock, 64, 0).decode(errors="replace").split():
        raise PermanentError(
            f"The store {path} is {'empty' if path.exists() else 'missing'}, but there was one. Put it back, or a "
            f"backup with `hv restore BACKUP`; to begin with an empty store, remove {path}.lock. "
            "Running virtual machines are not touched."
        )


def _prepare(db: apsw.Connection) -> None:
    """For reading: what is refused is closed again without a change."""
    # Exclusive before WAL: the index of the WAL then lives in memory, and nobody else can open the file.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    add_functions(db)


def _configure(db: apsw.Connection) -> None:
    """For writing."""
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 16777216")
    db.execute("PRAGMA temp_store = MEMORY")


def _checked(db: apsw.Connection, path: Path, migrations: Sequence[Migration]) -> int:
    """``_check``, where also text that is none and numbers that are none are damage."""
    try:
        return _check(db, path, migrations)
    except (TypeError, ValueError) as err:
        raise damaged(path, err) from err


def _check(db: apsw.Connection, path: Path, migrations: Sequence[Migration]) -> int:
    """The schema version of a file that is whole and ours; 0 for an empty one."""
    check_structure(db, path)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    if "meta" not in tables:
        raise PermanentError(f"{path} is a database, but not a store of hyperd's. Set another state_dir.")
    version = _version(db, path)
    if version > len(migrations):
        raise PermanentError(
            f"The store {path} has schema {version}; this hyperd knows up to {len(migrations)}. "
            "Install the newer hyperd again, or restore the backup that its start made beside the file: "
            f"`hv restore {path}.v{len(migrations)}.bak`."
        )
    check_schema(db, path, migrations[:version])
    if version > 1:
        check_rows(db, path)
    return version


def _version(db: apsw.Connection, path: Path) -> int:
    text = get_meta(db, "schema_version")
    guarded = any(column[1] == "sum" for column in db.execute("PRAGMA table_info(meta)"))
    if guarded:
        found = [total for (total,) in db.execute("SELECT sum FROM meta WHERE key = 'schema_version'")]
        if found != [meta_sum("schema_version", text)]:
            raise damaged(path, "its schema version is not what was written")
    if not text.isdecimal() or text == "0":
        raise damaged(path, "it has no schema version")
    return int(text)


def _migrate(db: apsw.Connection, path: Path, version: int, migrations: Sequence[Migration]) -> None:
    if version == len(migrations):
        return
    if version:
        copy_store(db, path.with_name(f"{path.name}.v{version}.bak"))
    with db:
        if not version:
            create_meta(db)
        for migration in migrations[version:]:
            migration(db)
        set_meta(db, "schema_version", str(len(migrations)))


def copy_store(db: apsw.Connection, target: Path) -> None:
    """A consistent copy of the store in a new file that only its owner may read. Raises PermanentError."""
    part = target.with_name(target.name + PART)
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db.execute("VACUUM INTO ?", (str(part),))
        durable.publish(part, target)
    except (apsw.Error, OSError) as err:
        part.unlink(missing_ok=True)
        raise PermanentError(f"The store was not copied to {target}: {err}.") from err


def _instance_id(db: apsw.Connection) -> str:
    found = get_meta(db, "instance_id")
    if not found:
        found = str(uuid.uuid4())
        set_meta(db, "instance_id", found)
    return found


def _abandon(connection: apsw.Connection | None, lock: int) -> None:
    try:
        if connection is not None:
            connection.close()
    except apsw.Error:
        # On a failing disk; the lock must go all the same.
        pass
    finally:
        os.close(lock)


def _explain(path: Path, err: Exception) -> PermanentError:
    if isinstance(err, apsw.NotADBError | apsw.CorruptError | apsw.SQLError | apsw.FormatError):
        return damaged(path, err, what="damaged or not a database")
    if isinstance(err, apsw.BusyError):
        return PermanentError(f"The store {path} is open in another program. Close that one first.")
    if isinstance(err, apsw.FullError):
        text = "its disk is full. Free some space and start again"
        return PermanentError(f"The store {path} cannot be opened: {text}.")
    return PermanentError(f"The store {path} cannot be opened: {err}.")
