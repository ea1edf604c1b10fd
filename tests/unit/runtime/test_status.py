"""Writing back: only what changed, never over somebody else's change."""

from __future__ import annotations

import copy

import pytest

from hyperd.errors import NotFound, TemporaryError
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from hyperd.runtime.status import add_finalizer, remove_finalizer, update_status
from hyperd.store.embedded.store import EmbeddedStore
from tests.contract.store.kinds import WIDGETS, widget

HOLD = "test.deckhouse.io/hold"


async def test_a_changed_status_is_written_and_an_equal_one_is_not(store: EmbeddedStore) -> None:
    before = (await store.create(WIDGETS, "default", widget())).object()
    after = copy.deepcopy(before)
    after["status"] = {"phase": "Ready"}
    writes = store.writes
    stored = await update_status(store, WIDGETS, before, after)
    assert stored["status"] == {"phase": "Ready"}
    assert await update_status(store, WIDGETS, stored, copy.deepcopy(stored)) == stored
    assert store.writes == writes + 1


async def test_an_enum_in_a_status_is_stored_as_its_string(store: EmbeddedStore) -> None:
    before = (await store.create(WIDGETS, "default", widget())).object()
    after = copy.deepcopy(before)
    after["status"] = {"phase": VirtualDiskPhase.READY}
    stored = await update_status(store, WIDGETS, before, after)
    assert type(stored["status"]["phase"]) is str
    assert await update_status(store, WIDGETS, stored, {**stored, "status": after["status"]}) == stored


async def test_a_status_from_an_old_state_is_made_again_soon(store: EmbeddedStore) -> None:
    before = (await store.create(WIDGETS, "default", widget())).object()
    newer = copy.deepcopy(before)
    newer["spec"]["size"] = 2
    await store.update(WIDGETS, "default", "w", newer)
    with pytest.raises(TemporaryError, match="changed while its status was made") as caught:
        await update_status(store, WIDGETS, before, {**before, "status": {"phase": "Ready"}})
    assert caught.value.delay is not None
    assert caught.value.delay < 0.1


async def test_the_status_of_what_is_gone_is_nobodys_fault(store: EmbeddedStore) -> None:
    before = (await store.create(WIDGETS, "default", widget())).object()
    await store.delete(WIDGETS, "default", "w")
    after = {**before, "status": {"phase": "Ready"}}
    assert await update_status(store, WIDGETS, before, after) == after


async def test_finalizers_come_and_go_once(store: EmbeddedStore) -> None:
    obj = (await store.create(WIDGETS, "default", widget())).object()
    writes = store.writes
    obj = await add_finalizer(store, WIDGETS, obj)
    assert obj["metadata"]["finalizers"] == [HOLD]
    assert await add_finalizer(store, WIDGETS, obj) == obj
    assert store.writes == writes + 1
    await store.delete(WIDGETS, "default", "w")
    with pytest.raises(TemporaryError):
        await remove_finalizer(store, WIDGETS, obj)
    obj = (await store.get(WIDGETS, "default", "w")).object()
    late = {**obj, "metadata": {**obj["metadata"], "finalizers": []}}
    assert await add_finalizer(store, WIDGETS, late) is late
    last = await remove_finalizer(store, WIDGETS, obj)
    assert last is not None
    with pytest.raises(NotFound):
        await store.get(WIDGETS, "default", "w")
    assert await remove_finalizer(store, WIDGETS, obj) is None
    assert await remove_finalizer(store, WIDGETS, last) == last
