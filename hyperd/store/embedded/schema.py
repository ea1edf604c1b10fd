"""The tables, version by version, and the sums that guard their rows.

SQLite checks the structure of its file, not the content of a row: a byte that flipped in an object's body would be
served as if it had been written. So each row carries a CRC-32 of what it says.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import apsw

Migration = Callable[[apsw.Connection], None]


def object_sum(group: str, plural: str, namespace: str, name: str, uid: str, rv: int, body: bytes) -> int:
    """The sum of a row of ``obj``."""
    head = f"{group}\0{plural}\0{namespace}\0{name}\0{uid}\0{rv}\0"
    return zlib.crc32(body, zlib.crc32(head.encode()))


def event_sum(
    rv: int, type_: str, group: str, plural: str, namespace: str, name: str, body: bytes, before: bytes | None
) -> int:
    """The sum of a row of ``log``."""
    head = f"{rv}\0{type_}\0{group}\0{plural}\0{namespace}\0{name}\0{before is None}\0"
    return zlib.crc32(before or b"", zlib.crc32(body, zlib.crc32(head.encode())))


def meta_sum(key: str, value: str) -> int:
    """The sum of a row of ``meta``."""
    return zlib.crc32(f"{key}\0{value}".encode())


def add_functions(db: apsw.Connection) -> None:
    """Make the sums known to SQL."""
    functions: tuple[tuple[str, Any, int], ...] = (
        ("object_sum", object_sum, 7),
        ("event_sum", event_sum, 8),
        ("meta_sum", meta_sum, 2),
    )
    for name, function, arguments in functions:
        db.create_scalar_function(name, function, arguments, deterministic=True)


OBJECT_SUM = "object_sum(grp, plural, ns, name, uid, rv, body)"
EVENT_SUM = "event_sum(rv, type, grp, plural, ns, name, body, before)"
META_SUM = "meta_sum(key, value)"


def _first(db: apsw.Connection) -> None:
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


def _sums(db: apsw.Connection) -> None:
    db.execute(f"""
        ALTER TABLE obj ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE log ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE meta ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
        UPDATE obj SET sum = {OBJECT_SUM};
        UPDATE log SET sum = {EVENT_SUM};
        UPDATE meta SET sum = {META_SUM};
    """)  # noqa: S608  constants of this file


def _layers(db: apsw.Connection) -> None:
    """Nothing here. From now on disks may have snapshots, and who knows fewer migrations would write to those."""


MIGRATIONS: tuple[Migration, ...] = (_first, _sums, _layers)
"""Numbered from 1, forward only: what is released is never changed, only followed."""


def create_meta(db: apsw.Connection) -> None:
    """The table that every version has, before the first migration."""
    db.execute("CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")


def set_meta(db: apsw.Connection, key: str, value: str) -> None:
    """Write one entry of the meta table, in the transaction that is open."""
    db.execute(
        "INSERT INTO meta(key, value, sum) VALUES(?1, ?2, ?3) "
        "ON CONFLICT DO UPDATE SET value = excluded.value, sum = excluded.sum",
        (key, value, meta_sum(key, value)),
    )


def get_meta(db: apsw.Connection, key: str) -> str:
    """One entry of the meta table, "" where there is none."""
    for (value,) in db.execute("SELECT value FROM meta WHERE key = ?", (key,)):
        return str(value)
    return ""
