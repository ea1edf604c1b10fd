"""A copy of the store while it runs, the way back, and what those who followed the store see of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import Expired, PermanentError, ServiceUnavailable
from hyperd.runtime.informer import Informer
from hyperd.store.embedded.backup import restore
from hyperd.store.embedded.schema import meta_sum
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from tests.contract.store.kinds import CONFIG_MAPS, WIDGETS, config_map, widget
from tests.unit.store.script import store_at, world


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def names(path: Path) -> list[str]:
    async with opened_store(store_at(path)) as store:
        return [item.name for item in (await store.list(CONFIG_MAPS)).items]


async def test_a_copy_is_one_moment_and_writers_do_not_wait_for_it(tmp_path: Path) -> None:
    async with opened_store(store_at(tmp_path / "s.db")) as store:
        big = "x" * 100_000
        content = [config_map(f"big{number}", text=big) for number in range(200)]
        await asyncio.gather(*(store.create(CONFIG_MAPS, "default", obj) for obj in content))
        copying = asyncio.create_task(store.backup(tmp_path / "copy.db"))
        written = 0
        while not copying.done():
            # In one order: a copy that holds a later one holds all before it.
            await store.create(CONFIG_MAPS, "default", config_map(f"n{written:05}"))
            written += 1
        await copying
    assert written > 10, "one that waited for the copy would be the only one, or among a few"
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    held = [name for name in await names(tmp_path / "copy.db") if name.startswith("n")]
    assert held == [f"n{number:05}" for number in range(len(held))]
    assert not [name for name in files(tmp_path) if ".part" in name]


async def test_a_copy_that_fails_or_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    async with opened_store(store_at(tmp_path / "s.db")) as store:
        await store.create(CONFIG_MAPS, "default", config_map("c", text="x" * 1_000_000))
        with pytest.raises(ServiceUnavailable, match="was not copied to"):
            await store.backup(tmp_path / "nowhere" / "copy.db")
        copying = asyncio.create_task(store.backup(tmp_path / "copy.db"))
        await asyncio.sleep(0)
        copying.cancel()
        await asyncio.wait([copying])
        await store.create(CONFIG_MAPS, "default", config_map("d"))
    assert files(tmp_path) == {"s.db", "s.db.lock"}
    (tmp_path / "s.db.0011aabb.part").write_text("what a crash left")
    assert await names(tmp_path / "s.db") == ["c", "d"]
    assert files(tmp_path) == {"s.db", "s.db.lock"}


@asynccontextmanager
async def backed_up(path: Path) -> AsyncIterator[tuple[EmbeddedStore, Path]]:
    """A running store that has gone on since its backup."""
    async with opened_store(store_at(path)) as store:
        await store.create(CONFIG_MAPS, "default", config_map("stays"))
        await store.create(CONFIG_MAPS, "default", config_map("deleted"))
        backup = path.with_name("backup")
        await store.backup(backup)
        await store.delete(CONFIG_MAPS, "default", "deleted")
        await store.create(CONFIG_MAPS, "default", config_map("made"))
        yield store, backup


async def test_a_restore_waits_for_the_daemon_to_stop_and_keeps_what_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with backed_up(path) as (store, backup):
        identity = store.instance_id
        with pytest.raises(PermanentError, match=rf"in use by another hyperd \(process {os.getpid()}\)"):
            await asyncio.to_thread(restore, backup, path)
    done = await asyncio.to_thread(restore, backup, path)
    assert done.objects == 4
    assert await names(path) == ["deleted", "stays"]
    assert await names(Path(done.replaced)) == ["made", "stays"]
    async with opened_store(store_at(path)) as store:
        assert store.instance_id != identity
    assert not [name for name in files(tmp_path) if ".part" in name]
    assert await names(backup) == ["deleted", "stays"]


async def test_after_a_restore_nobody_goes_on_where_he_was(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with backed_up(path) as (store, backup):
        seen = [item.resource_version for item in (await store.list(CONFIG_MAPS)).items]
        # More than the clock's seconds allow, as a busy store gives them out.
        store._ledger._next += 10_000_000
        last = await store.create(WIDGETS, "default", widget("last"))
        page = await store.list(CONFIG_MAPS, limit=1)
    await asyncio.to_thread(restore, backup, path)
    async with opened_store(store_at(path)) as store:
        now = (await store.list(CONFIG_MAPS)).resource_version
        assert int(now) > int(last.resource_version)
        for version in (*seen, last.resource_version, str(int(last.resource_version) + 1)):
            with pytest.raises(Expired):
                async with store.watch(CONFIG_MAPS, resource_version=version):
                    pass
        with pytest.raises(Expired):
            await store.list(CONFIG_MAPS, limit=1, continue_token=page.continue_token)
        made = await store.create(WIDGETS, "default", widget("new"))
        assert int(made.resource_version) > int(last.resource_version)
        async with store.watch(WIDGETS, resource_version=now, timeout=0) as events:
            assert [event.item.name async for event in events] == ["new"]


class Switched:
    """A store whose daemon is stopped and started under those who use it."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.now = store

    def __getattr__(self, name: str) -> object:
        return getattr(self.now, name)


async def test_an_informer_converges_on_what_was_restored(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    told: list[tuple[str, str]] = []
    async with backed_up(path) as (store, backup):
        home = Switched(store)
        informer = Informer(home, CONFIG_MAPS)  # type: ignore[arg-type]
        following = asyncio.create_task(informer.run())
        await informer.synced.wait()
        informer.add_handler(lambda type_, old, new: told.append((type_.value, (new or old).name)))  # type: ignore[union-attr]
        assert told == [("ADDED", "made"), ("ADDED", "stays")]
    await asyncio.to_thread(restore, backup, path)
    home.now = store_at(path)
    await home.now.start()
    try:
        async with asyncio.timeout(10):
            while informer.item("", "made") or informer.item("default", "made"):
                await asyncio.sleep(0.01)
        # The object that stayed has its old version: to the informer nothing happened to it.
        assert told[2:] == [("DELETED", "made"), ("ADDED", "deleted")]
    finally:
        following.cancel()
        await asyncio.wait([following])
        await home.now.close()


async def test_a_backup_that_is_none_is_refused_and_the_store_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with backed_up(path) as (store, backup):
        held = await world(store)
    content = backup.read_bytes()
    newer = tmp_path / "newer"
    newer.write_bytes(content)
    _set_version(newer, "99")
    cut = tmp_path / "cut"
    cut.write_bytes(content[:-5000])
    flipped = tmp_path / "flipped"
    flipped.write_bytes(content.replace(b"stays", b"stays"[::-1], 1))
    text = tmp_path / "text"
    text.write_text("hello" * 1000)
    for faulty, sentence in (
        (tmp_path / "none", "There is no backup"),
        (tmp_path, "There is no backup"),
        (path, "is the store itself"),
        (newer, "has schema 99"),
        (cut, f"The backup {cut} cannot be restored: it is damaged"),
        (flipped, f"The backup {flipped} cannot be restored: it is damaged"),
        (text, "no database|not a database"),
    ):
        with pytest.raises(PermanentError, match=sentence):
            await asyncio.to_thread(restore, faulty, path)
    async with opened_store(store_at(path)) as store:
        assert await world(store) == held
    assert not [name for name in files(tmp_path) if ".part" in name]


def _set_version(path: Path, version: str) -> None:
    import apsw

    db = apsw.Connection(str(path))
    row = (version, meta_sum("schema_version", version))
    db.execute("UPDATE meta SET value = ?, sum = ? WHERE key = 'schema_version'", row)
    db.close()


async def test_a_damaged_store_is_replaced_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with backed_up(path) as (_, backup):
        pass
    path.write_bytes(b"\xff" * 20_000)
    log = path.with_name("s.db-wal")
    log.write_bytes(b"its log")
    kept = path.with_name(Path((await asyncio.to_thread(restore, backup, path)).replaced).name)
    assert kept.read_bytes() == b"\xff" * 20_000
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"its log"
    assert await names(path) == ["deleted", "stays"]


@pytest.mark.parametrize("step", ["first", "second", "third"])
async def test_a_restore_killed_between_its_renames_never_leaves_an_empty_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "s.db"
    async with backed_up(path) as (store, backup):
        held = await world(store)
    path.with_name("s.db-wal").write_bytes(b"")
    renames = 0

    def cut(rename: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def renamed(source: Any, target: Any) -> Any:
            nonlocal renames
            renames += 1
            if renames == ("first", "second", "third").index(step) + 1:
                raise KeyboardInterrupt
            return rename(source, target)

        return renamed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut(Path.rename))
        patched.setattr("os.replace", cut(os.replace))
        with pytest.raises(KeyboardInterrupt):
            await asyncio.to_thread(restore, backup, path)
    if step == "first":
        async with opened_store(store_at(path)) as store:
            assert await world(store) == held
        return
    with pytest.raises(PermanentError, match=r"is missing, but there was one.*hv restore"):
        await store_at(path).start()
    await asyncio.to_thread(restore, backup, path)
    assert await names(path) == ["deleted", "stays"]
