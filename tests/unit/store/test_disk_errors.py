"""Any single write or sync of a create-to-delete run fails, once or until the disk is healed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hyperd.errors import HyperdError, ServiceUnavailable, Timeout
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from tests.unit.store.disk import Disk, Fault, disk
from tests.unit.store.script import STEPS, Step, World, settled, store_at, world


@pytest.fixture(scope="module")
def fresh(module_path: Path) -> Path:
    """A store that was started once, so that each run begins behind its creation."""
    path = module_path / "s.db"

    async def create() -> None:
        async with opened_store(store_at(path)):
            pass

    asyncio.run(create())
    return path


@asynccontextmanager
async def copy_of(fresh: Path, folder: Path, layer: Disk) -> AsyncIterator[EmbeddedStore]:
    await asyncio.to_thread(folder.mkdir)
    shutil.copy(fresh, folder / "s.db")
    layer.log.clear()
    layer.heal()
    async with opened_store(store_at(folder / "s.db", vfs=layer.name)) as store:
        yield store


async def after_kill(folder: Path, number: int) -> World:
    """What another process would find in the files as they are now."""
    copy = folder / f"killed{number}"
    await asyncio.to_thread(shutil.copytree, folder, copy, ignore=shutil.ignore_patterns("killed*", "*.lock"))
    store = store_at(copy / "s.db")
    await store.start()
    try:
        return await world(store)
    finally:
        await store.close()


async def _failure(store: EmbeddedStore, step: Step) -> HyperdError | None:
    """How ``step`` failed, if it did."""
    try:
        async with asyncio.timeout(10):
            await step(store)
    except (ServiceUnavailable, Timeout) as err:
        return err
    return None


async def _run(store: EmbeddedStore, layer: Disk, folder: Path) -> int:
    """All steps; one that fails is tried again as a client would, after the disk was healed. How many failed."""
    failed = 0
    for step in STEPS:
        before = await world(store)
        error = await _failure(store, step)
        if error is None:
            continue
        failed += 1
        assert error.retry_after_seconds
        assert await world(store) == before, "a read told of a write that failed"
        found = await after_kill(folder, failed)
        if isinstance(error, ServiceUnavailable):
            assert "nothing was changed" in error.message
            assert found == before, "a write that was said to have changed nothing is in the file"
        layer.heal()
        await step(store)
    layer.heal()
    await settled(store)
    return failed


@pytest.mark.parametrize(
    ("fault", "lasting"), [("full", True), ("error", False), ("error", True), ("short", False)]
)
async def test_a_fault_at_any_operation_is_told_and_heals(
    fresh: Path, tmp_path: Path, fault: Fault, lasting: bool
) -> None:
    failed = 0
    with disk(f"faulty-{fault}-{lasting}") as layer:
        layer.fault = fault
        async with copy_of(fresh, tmp_path / "whole", layer) as store:
            opened = len(layer.log)
            await _run(store, layer, tmp_path / "whole")
            operations = len(layer.log)
        assert operations - opened > 40
        for number in range(opened, operations):
            folder = tmp_path / str(number)
            async with copy_of(fresh, folder, layer) as store:
                layer.fail_from = number
                layer.fail_until = None if lasting else number + 1
                failed += await _run(store, layer, folder)
                layer.heal()
                held = await world(store)
            async with opened_store(store_at(folder / "s.db")) as again:
                assert await world(again) == held, f"the fault at operation {number} showed after the restart"
            shutil.rmtree(folder)
    assert failed > 20
