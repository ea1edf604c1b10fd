"""Whether a store's file still says what was written to it. Asked at each start, before anything is written.

The rule it keeps: a damaged store is refused and left byte for byte as it is; guessing at its content is worse
than not to start, as guests run on without the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from hyperd.errors import PermanentError
from hyperd.store.embedded.schema import EVENT_SUM, META_SUM, OBJECT_SUM, Migration, add_functions, create_meta
from hyperd.store.embedded.walfile import lost_commits

_SQLITE_HEAD = 100
_WAL_MODE = b"\x02\x02"
_SUMS = (("obj", OBJECT_SUM), ("log", EVENT_SUM), ("meta", META_SUM))


class StoreDamaged(PermanentError):
    """The file does not say what was written to it; ``how`` it shows."""

    def __init__(self, path: Path, how: object, what: str) -> None:
        super().__init__(
            f"The store {path} is {what} ({how}). Put a backup in its place with `hv restore BACKUP`, which keeps "
            "the damaged file beside it; running virtual machines are not touched."
        )
        self.how = f"it is {what} ({how})"


def damaged(path: Path, how: object, *, what: str = "damaged") -> StoreDamaged:
    """The refusal: what is wrong, and what to do."""
    return StoreDamaged(path, how, what)


def check_files(path: Path) -> None:
    """Before SQLite opens ``path``: what it would overlook. Raises PermanentError, OSError."""
    head = b""
    if path.exists():
        with path.open("rb") as file:
            head = file.read(_SQLITE_HEAD)
    wal = wal_of(path)
    logged = wal.exists() and wal.stat().st_size > 0
    if not head and logged:
        raise PermanentError(
            f"The store {path} is missing, while its log {wal.name} is there. Put the file back where it was, "
            "or a backup with `hv restore BACKUP`; running virtual machines are not touched."
        )
    if 0 < len(head) < _SQLITE_HEAD:
        raise damaged(path, f"only {len(head)} bytes are left")
    if logged and head[18:20] != _WAL_MODE:
        raise damaged(path, f"it does not know of its log {wal.name}")


def check_structure(db: apsw.Connection, path: Path) -> None:
    """The tree of pages, the indexes, and the log's end. Raises PermanentError."""
    for (verdict,) in db.execute("PRAGMA integrity_check(1)"):
        if verdict != "ok":
            raise damaged(path, str(verdict).splitlines()[-1])
    for _, frames, _ in db.execute("PRAGMA wal_checkpoint(NOOP)"):
        if lost_commits(wal_of(path), max(frames, 0)):
            raise damaged(path, f"its log {wal_of(path).name} cannot be read to its end")


def check_schema(db: apsw.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """The tables are those that ``migrations`` make. Raises PermanentError."""
    model = apsw.Connection(":memory:")
    try:
        add_functions(model)
        create_meta(model)
        for migration in migrations:
            migration(model)
        if _tables(db) != _tables(model):
            raise damaged(path, "its tables are not those of its schema version")
    finally:
        model.close()


def check_rows(db: apsw.Connection, path: Path) -> None:
    """Each row says what its sum says.

    Raises PermanentError, and TypeError or ValueError for what is of no type or encoding that a row of ours has.
    """
    for table, expression in _SUMS:
        if list(db.execute(f"SELECT 1 FROM {table} WHERE sum IS NOT {expression} LIMIT 1")):  # noqa: S608
            raise damaged(path, f"a row of {table} is not what was written")


def wal_of(path: Path) -> Path:
    """SQLite's log beside the file."""
    return path.with_name(f"{path.name}-wal")


def _tables(db: apsw.Connection) -> list[tuple[str, str]]:
    found = db.execute("SELECT name, coalesce(sql, '') FROM sqlite_master ORDER BY name")
    return [(str(name), " ".join(str(sql).split())) for name, sql in found]
