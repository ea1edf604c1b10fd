"""A byte flips, an end is cut off, a file is gone: the store refuses and says what to do, or it lost nothing."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperd.errors import PermanentError
from hyperd.store.embedded.store import opened_store
from hyperd.store.embedded.walfile import lost_commits
from tests.contract.store.kinds import CONFIG_MAPS, SECRETS, config_map
from tests.unit.store.script import World, store_at, world

PAGE = 4096
WAL_HEAD, FRAME = 32, 24 + PAGE


@dataclass
class Files:
    """A store that was killed: its file, its log, and all that it had acknowledged, write by write."""

    folder: Path
    states: list[World]
    log_sizes: list[int]

    @property
    def path(self) -> Path:
        return self.folder / "s.db"

    @property
    def wal(self) -> Path:
        return self.folder / "s.db-wal"

    def copy(self, target: Path) -> Path:
        for name in ("s.db", "s.db-wal"):
            if (self.folder / name).exists():
                shutil.copy(self.folder / name, target / name)
        return target / "s.db"


async def _fill(folder: Path, target: Path) -> Files:
    """A file with content, and a log with ten commits that are not in it yet."""
    path = folder / "s.db"
    async with opened_store(store_at(path)) as store:
        for number in range(25):
            await store.create(CONFIG_MAPS, "default", config_map(f"old{number:02}", text="x" * 700))
        big = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"big": "eHh4" * 2500}}
        await store.create(SECRETS, "default", big)
    store = store_at(path)
    await store.start()
    states, sizes = [await world(store)], [0]
    for number in range(10):
        await store.create(CONFIG_MAPS, "default", config_map(f"new{number}", text="y" * 700))
        states.append(await world(store))
        sizes.append((folder / "s.db-wal").stat().st_size)
    files = Files(folder, states, sizes)
    files.copy(target)
    await store.close()
    return Files(target, states, sizes)


@pytest.fixture(scope="module")
def killed(module_path: Path) -> Files:
    for name in ("running", "killed"):
        (module_path / name).mkdir()
    return asyncio.run(_fill(module_path / "running", module_path / "killed"))


@pytest.fixture(scope="module")
def stopped(killed: Files, module_path: Path) -> Files:
    """The same after a clean stop: no log."""

    async def stop(folder: Path) -> None:
        async with opened_store(store_at(killed.copy(folder))):
            pass

    folder = module_path / "stopped"
    folder.mkdir()
    asyncio.run(stop(folder))
    return Files(folder, killed.states, killed.log_sizes)


async def start(path: Path) -> World | None:
    """What the store at ``path`` serves, or None when it refuses in the right words and touches nothing."""
    before = _content(path)
    store = store_at(path)
    refusal = ""
    try:
        await store.start()
    except PermanentError as err:
        refusal = err.message
    if refusal:
        assert str(path) in refusal
        assert "hv restore" in refusal
        assert _content(path) == before, "a store that was refused was changed"
        return None
    try:
        return await world(store)
    finally:
        await store.close()


def _content(path: Path) -> list[bytes]:
    """The file and its log; an empty log says nothing."""
    content = [name.read_bytes() for name in (path, path.with_name("s.db-wal")) if name.exists()]
    return [data for data in content if data]


def flips(size: int, places: Iterable[int], chance: random.Random) -> Iterator[tuple[int, int]]:
    """(offset, what to XOR) at ``places`` and at 250 others."""
    for offset in [*places, *(chance.randrange(size) for _ in range(250))]:
        yield offset, 1 << chance.randrange(8) if chance.random() < 0.5 else chance.randrange(1, 256)


async def test_a_flipped_byte_of_the_file_is_refused_or_does_no_harm(stopped: Files, tmp_path: Path) -> None:
    content = stopped.path.read_bytes()
    chance = random.Random(11)
    heads = (page + byte for page in range(0, len(content), PAGE) for byte in range(0, 16, 3))
    refused = 0
    for offset, mask in flips(len(content), (*range(0, 100, 3), *heads), chance):
        path = stopped.copy(tmp_path)
        damaged = bytearray(content)
        damaged[offset] ^= mask
        path.write_bytes(damaged)
        found = await start(path)
        refused += found is None
        assert found in (None, stopped.states[-1]), f"byte {offset} ^ {mask} was served"
        path.with_name("s.db-wal").unlink(missing_ok=True)
    assert refused > 200


async def test_a_flipped_byte_of_the_log_is_refused_but_in_its_last_commit(killed: Files, tmp_path: Path) -> None:
    content = killed.wal.read_bytes()
    chance = random.Random(5)
    heads = (WAL_HEAD + frame * FRAME + byte for frame in range(len(content) // FRAME) for byte in range(0, 24, 4))
    places = (*range(WAL_HEAD), *heads)
    last = killed.log_sizes[-2]
    refused = 0
    for offset, mask in flips(len(content), places, chance):
        path = killed.copy(tmp_path)
        damaged = bytearray(content)
        damaged[offset] ^= mask
        path.with_name("s.db-wal").write_bytes(damaged)
        found = await start(path)
        refused += found is None
        if offset < last:
            assert found in (None, killed.states[-1]), f"byte {offset} ^ {mask} of the log lost a write"
        else:
            # Not to be told from the torn end of a commit that nobody was told of.
            assert found in (None, killed.states[-1], killed.states[-2])
        path.with_name("s.db-wal").unlink(missing_ok=True)
    assert refused > 200


async def test_a_torn_end_of_the_log_costs_only_the_commit_that_is_torn(killed: Files, tmp_path: Path) -> None:
    content = killed.wal.read_bytes()
    for cut in range(killed.log_sizes[-2], len(content), 997):
        path = killed.copy(tmp_path)
        path.with_name("s.db-wal").write_bytes(content[:cut])
        assert await start(path) == killed.states[-2]
        path.with_name("s.db-wal").unlink(missing_ok=True)
    assert not await asyncio.to_thread(lost_commits, killed.wal, len(content) // FRAME)
    assert not await asyncio.to_thread(lost_commits, killed.folder / "none", 0)


async def test_a_file_cut_short_anywhere_is_refused(stopped: Files, tmp_path: Path) -> None:
    content = stopped.path.read_bytes()
    for size in (1, 99, 100, PAGE, PAGE + 1, len(content) // 2, len(content) - PAGE, len(content) - 1):
        path = stopped.copy(tmp_path)
        path.write_bytes(content[:size])
        assert await start(path) is None, f"{size} of {len(content)} bytes were taken for a store"


async def test_a_store_that_was_there_must_still_be(killed: Files, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened_store(store_at(path)):
        pass
    path.unlink()
    assert await start(path) is None
    path.write_bytes(b"")
    with pytest.raises(PermanentError, match=r"is empty, but there was one.*to begin with an empty store, remove"):
        await store_at(path).start()
    (tmp_path / "s.db.lock").unlink()
    async with opened_store(store_at(path)) as store:
        assert (await store.list(CONFIG_MAPS)).items == []


async def test_a_log_without_its_file_is_refused(killed: Files, tmp_path: Path) -> None:
    path = killed.copy(tmp_path)
    path.unlink()
    assert await start(path) is None
    assert not path.exists()
