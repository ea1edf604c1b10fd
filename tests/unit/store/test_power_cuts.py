"""The power goes after any single write or sync of a create-to-delete run, and the store starts again."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import EventType
from tests.contract.store.kinds import CONFIG_MAPS, KINDS, config_map
from tests.unit.store.disk import Disk, Survivors, after_power_cut, disk
from tests.unit.store.script import STEPS, Trace, World, counter, settled, store_at, world


async def _run(path: Path, recorder: Disk, trace: Trace) -> None:
    store = store_at(path, vfs=recorder.name)
    await store.start()
    await trace.note(store, len(recorder.log))
    for step in STEPS:
        await step(store)
        await trace.note(store, len(recorder.log))
    await settled(store)
    await trace.note(store, len(recorder.log))
    await asyncio.gather(*(store.create(CONFIG_MAPS, "default", config_map(f"c{n}")) for n in range(5)))
    await trace.note(store, len(recorder.log))
    await store.close()
    trace.states.append(trace.states[-1])
    trace.versions.append(trace.versions[-1])
    trace.operations.append(len(recorder.log))


@pytest.fixture(scope="module")
def recorded(module_path: Path) -> tuple[Disk, Trace]:
    """One run, whole: its disk operations, and what was acknowledged when."""
    trace = Trace()
    with disk("recorder") as recorder:
        asyncio.run(_run(module_path / "s.db", recorder, trace))
    return recorder, trace


@pytest.mark.parametrize("survivors", ["synced", "all", "some"])
async def test_a_cut_after_any_operation_loses_no_acknowledged_write(
    recorded: tuple[Disk, Trace], tmp_path: Path, survivors: Survivors
) -> None:
    recorder, trace = recorded
    chance = random.Random(7)
    assert len(recorder.log) > 50
    for cut in range(len(recorder.log) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        for name, content in after_power_cut(recorder.log[:cut], survivors, chance).items():
            (folder / name).write_bytes(content)
        await _starts_right(folder / "s.db", trace, cut)


async def _starts_right(path: Path, trace: Trace, cut: int) -> None:
    """Whatever was acknowledged before ``cut`` is there, and nothing that never was a state of the store."""
    acknowledged = max((n for n, count in enumerate(trace.operations) if count <= cut), default=-1)
    store = store_at(path)
    await store.start()
    try:
        found, version = await world(store), await counter(store)
        if acknowledged < 0:
            return
        assert version >= trace.versions[acknowledged], f"the counter went back at operation {cut}"
        _is_a_state(found, trace, acknowledged, cut)
        await _replays(store, trace, found, version)
        made = await store.create(CONFIG_MAPS, "default", config_map("after"))
        assert int(made.resource_version) > trace.versions[acknowledged], "a version was given out twice"
    finally:
        await store.close()


def _is_a_state(found: World, trace: Trace, at: int, cut: int) -> None:
    following = at + 1 if at + 1 < len(trace.states) else at
    if found in (trace.states[at], trace.states[following]):
        return
    # Between two notes several changes may have been committed; each is whole, and none is foreign to both.
    before, after = trace.states[at], trace.states[following]
    known = {*before.items(), *after.items()}
    strays = {key for key, raw in found.items() if (key, raw) not in known}
    lost = {key for key in before.keys() & after.keys() if key not in found}
    assert not strays, f"the cut after operation {cut} left {strays} in a state that never was"
    assert not lost, f"the cut after operation {cut} lost {lost}"


async def _replays(store: EmbeddedStore, trace: Trace, found: World, version: int) -> None:
    """Whoever knew the first state and watches from there arrives at the state that is."""
    followed = dict(trace.states[0])
    for kind in KINDS:
        async with store.watch(kind, resource_version=str(trace.versions[0]), timeout=0) as events:
            async for event in events:
                if int(event.item.resource_version) > version:
                    continue  # the collector has begun to tidy up
                key = (kind.plural, event.item.namespace, event.item.name)
                if event.type is EventType.DELETED:
                    del followed[key]
                else:
                    followed[key] = event.item.raw
    assert followed == found
