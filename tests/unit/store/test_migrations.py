"""Files of older versions come along, whole or not at all."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import apsw
import orjson
import pytest

from hyperd.errors import Expired, PermanentError
from hyperd.store.embedded.schema import MIGRATIONS
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from tests.contract.store.kinds import CONFIG_MAPS, config_map
from tests.unit.store.disk import Survivors, after_power_cut, disk
from tests.unit.store.test_faults import store_at

_VERSIONS = {"default": 100, "kube-system": 101, "kube-public": 102, "kube-node-lease": 103}
_LAST = 107


def version_one(path: Path) -> None:
    """A store as the first version of hyperd left it: four namespaces, a ConfigMap, a deleted one in the log."""
    with sqlite3.connect(path) as db:
        db.executescript("""
            PRAGMA journal_mode = WAL;
            CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
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
            INSERT INTO meta VALUES('schema_version', '1');
            INSERT INTO meta VALUES('instance_id', 'old-instance');
            INSERT INTO meta VALUES('rv_floor', '99');
        """)
        for name, version in _VERSIONS.items():
            body = _body("Namespace", name, "", version, spec={"finalizers": ["kubernetes"]})
            _put(db, ("", "namespaces", "", name), version, body)
        _put(db, ("", "configmaps", "default", "gone"), 104, _body("ConfigMap", "gone", "default", 104))
        _put(db, ("", "configmaps", "default", "kept"), 105, _body("ConfigMap", "kept", "default", 105))
        labelled = _body("ConfigMap", "kept", "default", 106, labels={"a": "b"})
        _put(db, ("", "configmaps", "default", "kept"), 106, labelled, _body("ConfigMap", "kept", "default", 105))
        db.execute("DELETE FROM obj WHERE name = 'gone'")
        db.execute(
            "INSERT INTO log VALUES(?, 'DELETED', '', 'configmaps', 'default', 'gone', ?, NULL)",
            (_LAST, _body("ConfigMap", "gone", "default", _LAST)),
        )
    db.close()


def _put(
    db: sqlite3.Connection, where: tuple[str, ...], version: int, body: bytes, before: bytes | None = None
) -> None:
    db.execute("DELETE FROM obj WHERE grp = ? AND plural = ? AND ns = ? AND name = ?", where)
    db.execute("INSERT INTO obj VALUES(NULL, ?, ?, ?, ?, ?, ?, ?)", (*where, f"uid-{where[3]}", version, body))
    type_ = "ADDED" if before is None else "MODIFIED"
    db.execute("INSERT INTO log VALUES(?, ?, ?, ?, ?, ?, ?, ?)", (version, type_, *where, body, before))


def _body(
    kind: str, name: str, namespace: str, version: int, *, labels: object = None, spec: object = None
) -> bytes:
    metadata: dict[str, object] = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    metadata |= {"namespace": namespace} if namespace else {}
    metadata |= {"labels": labels} if labels else {}
    obj = {"apiVersion": "v1", "kind": kind, "metadata": metadata} | ({"spec": spec} if spec else {})
    return orjson.dumps(obj)


async def holds_all(store: EmbeddedStore) -> None:
    assert store.instance_id == "old-instance"
    [kept] = (await store.list(CONFIG_MAPS)).items
    assert kept.object()["metadata"]["labels"] == {"a": "b"}
    assert kept.resource_version == "106"


async def test_the_first_schema_comes_along_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    version_one(path)
    for _ in range(2):
        async with opened_store(store_at(path)) as store:
            await holds_all(store)
            async with store.watch(CONFIG_MAPS, resource_version="104", timeout=0) as events:
                seen = [(event.type.value, event.item.name) async for event in events]
            assert seen == [("ADDED", "kept"), ("MODIFIED", "kept"), ("DELETED", "gone")]
            with pytest.raises(Expired):
                async with store.watch(CONFIG_MAPS, resource_version="98"):
                    pass
    backup = tmp_path / "s.db.v1.bak"
    assert backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(backup) as db:
        assert db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() == ("1",)
        assert db.execute("SELECT count(*) FROM log").fetchone() == (8,)
    db.close()


@pytest.mark.parametrize("survivors", ["synced", "all", "some"])
async def test_a_power_cut_at_any_moment_of_a_migration_loses_nothing(
    tmp_path: Path, survivors: Survivors
) -> None:
    path = tmp_path / "s.db"
    version_one(path)
    before = {path.name: path.read_bytes()}
    chance = random.Random(3)
    with disk(f"migrating-{survivors}") as recorder:
        async with opened_store(store_at(path, vfs=recorder.name)):
            pass
    # The copy that is made first has files of its own.
    log = [operation for operation in recorder.log if ".bak" not in operation.file]
    assert len(log) > 10
    for cut in range(len(log) + 1):
        folder = tmp_path / str(cut)
        await asyncio.to_thread(folder.mkdir)
        for name, content in after_power_cut(log[:cut], survivors, chance, before).items():
            (folder / name).write_bytes(content)
        async with opened_store(store_at(folder / path.name)) as store:
            await holds_all(store)


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    version_one(path)

    def broken(db: apsw.Connection) -> None:
        db.execute("CREATE TABLE half(a)")
        db.execute("SELECT * FROM nothing")

    with pytest.raises(PermanentError):
        await store_at(path, migrations=(*MIGRATIONS, broken)).start()
    async with opened_store(store_at(path)) as store:
        await holds_all(store)


async def test_versions_that_know_no_snapshots_refuse_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened_store(store_at(path, migrations=MIGRATIONS[:2])) as store:
        await store.create(CONFIG_MAPS, "default", config_map("kept"))
    async with opened_store(store_at(path)) as store:
        assert len((await store.list(CONFIG_MAPS)).items) == 1
    with pytest.raises(PermanentError, match=r"has schema 3; this hyperd knows up to 2"):
        await store_at(path, migrations=MIGRATIONS[:2]).start()


async def test_an_older_daemon_refuses_the_newer_file_and_names_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    def third(db: apsw.Connection) -> None:
        db.execute("ALTER TABLE log ADD COLUMN extra TEXT")

    async with opened_store(store_at(path)) as store:
        await store.create(CONFIG_MAPS, "default", config_map("kept"))
    newer = (*MIGRATIONS, third)
    async with opened_store(store_at(path, migrations=newer)) as store:
        assert len((await store.list(CONFIG_MAPS)).items) == 1
    before = path.read_bytes()
    copy = f"{path}.v{len(MIGRATIONS)}.bak"
    with pytest.raises(PermanentError, match=f"has schema {len(newer)}.*hv restore {copy}"):
        await store_at(path).start()
    assert path.read_bytes() == before
    async with opened_store(store_at(Path(copy))) as store:
        assert len((await store.list(CONFIG_MAPS)).items) == 1
