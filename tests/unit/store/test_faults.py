"""What the store does when the machine, the disk or the administrator misbehaves."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import apsw
import pytest

from hyperd.errors import Expired, PermanentError, ServiceUnavailable
from hyperd.settings import StoreSettings
from hyperd.store.embedded import reserve
from hyperd.store.embedded.database import check_library
from hyperd.store.embedded.schema import MIGRATIONS, meta_sum
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from tests.contract.store.kinds import CONFIG_MAPS, KINDS, WIDGETS, config_map, widget


def store_at(path: Path, *, vfs: str = "", migrations: object = MIGRATIONS) -> EmbeddedStore:
    return EmbeddedStore(
        path,
        settings=StoreSettings(),
        admit=None,
        kinds=KINDS,
        vfs=vfs,
        migrations=migrations,  # type: ignore[arg-type]
    )


async def filled(path: Path, count: int = 3) -> None:
    async with opened_store(store_at(path)) as store:
        for number in range(count):
            await store.create(CONFIG_MAPS, "default", config_map(f"c{number}", text="x" * 2000))


async def test_no_acknowledged_write_is_lost_to_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    acknowledged: dict[str, int] = {}
    last = 0
    for round_ in range(5):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.unit.store.writer", str(path), f"r{round_}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(60 + 37 * round_)]
        process.kill()
        lines += [line async for line in process.stdout if line.endswith(b"\n")]
        await process.wait()
        acknowledged |= {name: int(version) for name, version in map(str.split, map(bytes.decode, lines))}
        async with opened_store(store_at(path)) as store:
            found = {item.name: int(item.resource_version) for item in (await store.list(CONFIG_MAPS)).items}
            assert acknowledged.items() <= found.items()
            assert all(version > last for name, version in found.items() if name.startswith(f"r{round_}-"))
            last = max(found.values())


async def test_two_daemons_on_one_file_are_refused(tmp_path: Path) -> None:
    async with opened_store(store_at(tmp_path / "s.db")) as first:
        with pytest.raises(PermanentError, match=r"in use by another hyperd \(process \d+\)"):
            await store_at(tmp_path / "s.db").start()
        await first.create(CONFIG_MAPS, "default", config_map())
    await filled(tmp_path / "s.db")


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await filled(path)
    with sqlite3.connect(path) as db:
        found = meta_sum("schema_version", "99")
        db.execute("UPDATE meta SET value = '99', sum = ? WHERE key = 'schema_version'", (found,))
    db.close()
    before = path.read_bytes()
    with pytest.raises(PermanentError, match="has schema 99; this hyperd knows up to"):
        await store_at(path).start()
    assert path.read_bytes() == before


async def test_a_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE shop(item)")
    db.close()
    with pytest.raises(PermanentError, match="not a store of hyperd's"):
        await store_at(path).start()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("shop",)]
    db.close()


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"hello" * 1000)
    with pytest.raises(PermanentError, match="damaged or not a database"):
        await store_at(path).start()
    assert path.read_bytes() == b"hello" * 1000


async def test_a_torn_end_of_the_wal_loses_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = store_at(path)
    await store.start()
    for number in range(5):
        await store.create(CONFIG_MAPS, "default", config_map(f"c{number}"))
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    wal = path.with_name("s.db-wal").read_bytes()
    await store.close()
    # The last frame is half written, as after a power cut in the middle of a commit.
    copy.with_name("copy.db-wal").write_bytes(wal[:-2000])
    async with opened_store(store_at(copy)) as again:
        names = [item.name for item in (await again.list(CONFIG_MAPS)).items]
        assert names == [f"c{number}" for number in range(len(names))]
        assert len(names) >= 4


async def test_a_backup_taken_while_writing_is_whole(tmp_path: Path) -> None:
    async with opened_store(store_at(tmp_path / "s.db")) as store:
        await store.create(CONFIG_MAPS, "default", config_map("before"))
        writing = asyncio.gather(*(store.create(CONFIG_MAPS, "default", config_map(f"c{n}")) for n in range(200)))
        await store.backup(tmp_path / "copy.db")
        await writing
        with pytest.raises(ServiceUnavailable, match="was not copied to"):
            await store.backup(tmp_path / "nowhere" / "copy.db")
    async with opened_store(store_at(tmp_path / "copy.db")) as copy:
        assert (await copy.get(CONFIG_MAPS, "default", "before")).name == "before"


async def test_a_restored_backup_never_gives_a_version_out_again(tmp_path: Path) -> None:
    async with opened_store(store_at(tmp_path / "s.db")) as store:
        await store.backup(tmp_path / "copy.db")
        for number in range(5):
            lost = await store.create(WIDGETS, "default", widget(f"lost{number}"))
    await asyncio.sleep(1.1)  # the counter leaps by the clock's seconds
    async with opened_store(store_at(tmp_path / "copy.db")) as copy:
        made = [await copy.create(WIDGETS, "default", widget(f"new{n}")) for n in range(10)]
        assert all(int(item.resource_version) > int(lost.resource_version) for item in made)
        with pytest.raises(Expired):
            async with copy.watch(WIDGETS, resource_version=lost.resource_version):
                pass


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    await filled(tmp_path / "s.db")
    assert (tmp_path / "s.db").stat().st_mode & 0o777 == 0o600


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="cannot be opened"):
        await store_at(tmp_path / "file" / "s.db").start()


def test_a_library_with_the_wal_fault_is_refused() -> None:
    with pytest.raises(PermanentError, match=r"needs 3\.51\.3 or newer"):
        check_library("3.40.1")
    check_library("3.51.3")
    check_library("3.54.1")


class _Fuse:
    """Lets so many writes of the file layer through, then fails them; None lets all through."""

    left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            if self.left <= 0:
                raise apsw.FullError("no space left")
            self.left -= 1


class _FailingFile(apsw.VFSFile):
    def __init__(self, fuse: _Fuse, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._fuse = fuse

    def xWrite(self, data: bytes, offset: int) -> None:
        self._fuse.burn()
        super().xWrite(data, offset)


class _FailingDisk(apsw.VFS):
    def __init__(self, name: str, fuse: _Fuse) -> None:
        self._fuse = fuse
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _FailingFile(self._fuse, name, flags)


async def test_a_full_disk_at_any_write_loses_nothing_and_heals(tmp_path: Path) -> None:
    fuse = _Fuse()
    disk = _FailingDisk("failing-disk", fuse)
    try:
        async with opened_store(store_at(tmp_path / "s.db", vfs="failing-disk")) as store:
            held: list[str] = []
            failures = 0
            for number in range(40):
                fuse.left = number % 8
                name = f"c{number}"
                try:
                    await store.create(CONFIG_MAPS, "default", config_map(name, text="x" * 9000))
                    held.append(name)
                except ServiceUnavailable as err:
                    assert "is full; nothing was changed" in err.message  # noqa: PT017
                    failures += 1
                assert [item.name for item in (await store.list(CONFIG_MAPS)).items] == sorted(held)
            assert failures
            fuse.left = None
            await store.create(CONFIG_MAPS, "default", config_map("healed"))
        async with opened_store(store_at(tmp_path / "s.db")) as again:
            names = {item.name for item in (await again.list(CONFIG_MAPS)).items}
            assert names == {*held, "healed"}
    finally:
        disk.unregister()


async def test_a_cancelled_writer_does_not_leave_the_object_locked_or_half_written(tmp_path: Path) -> None:
    async with opened_store(store_at(tmp_path / "s.db")) as store:
        await store.create(CONFIG_MAPS, "default", config_map(turn="0"))
        for turn in range(1, 30):
            writer = asyncio.create_task(store.update(CONFIG_MAPS, "default", "c", config_map(turn=str(turn))))
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            writer.cancel()
            other = await store.update(CONFIG_MAPS, "default", "c", config_map(turn=f"other{turn}"))
            await asyncio.wait([writer])
            assert (await store.get(CONFIG_MAPS, "default", "c")).raw == other.raw
    async with opened_store(store_at(tmp_path / "s.db")) as store:
        assert (await store.get(CONFIG_MAPS, "default", "c")).object()["data"] == {"turn": "other29"}


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = store_at(tmp_path / "s.db")
    await store.start()
    await store.close()
    await store.close()
    with pytest.raises(ServiceUnavailable, match="closing"):
        await store.create(CONFIG_MAPS, "default", config_map())


async def test_blocks_are_held_behind_the_ends_of_the_store_and_its_wal(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened_store(store_at(path)) as store:
        await store.create(CONFIG_MAPS, "default", config_map("c"))
        for file in (path, path.with_name("s.db-wal")):
            stat = file.stat()
            assert stat.st_size < reserve.SPARE_BYTES
            assert stat.st_blocks * 512 >= reserve.SPARE_BYTES
