"""Many clients at once on one name: exactly one wins, and no other's write is lost in silence."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from hyperd.errors import AlreadyExists, Conflict, HyperdError
from hyperd.store.interface import Item, PatchType, Store
from tests.contract.store.kinds import WIDGETS, widget

CLIENTS = 50


async def outcome(work: object) -> str:
    try:
        await work  # type: ignore[misc]
    except HyperdError as err:
        return err.reason
    return "done"


async def test_of_fifty_who_create_one_name_one_succeeds(store: Store) -> None:
    clients = [store.create(WIDGETS, "default", widget("w", size=number)) for number in range(CLIENTS)]
    results = Counter(await asyncio.gather(*(outcome(client) for client in clients)))
    assert results == {"done": 1, AlreadyExists.reason: CLIENTS - 1}
    assert len((await store.list(WIDGETS)).items) == 1


async def test_of_those_who_write_from_one_version_one_succeeds(store: Store) -> None:
    obj = (await store.create(WIDGETS, "default", widget("w"))).object()
    clients = [
        store.update(WIDGETS, "default", "w", {**obj, "spec": {**obj["spec"], "size": number + 2}})
        for number in range(20)
    ]
    results = Counter(await asyncio.gather(*(outcome(client) for client in clients)))
    assert results == {"done": 1, Conflict.reason: 19}


async def test_a_patch_with_a_stale_version_is_a_conflict(store: Store) -> None:
    stale = (await store.create(WIDGETS, "default", widget("w"))).resource_version
    await store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"spec": {"size": 2}})
    patch = {"metadata": {"resourceVersion": stale}, "spec": {"size": 3}}
    with pytest.raises(Conflict):
        await store.patch(WIDGETS, "default", "w", PatchType.MERGE, patch)
    test = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": stale},
        {"op": "replace", "path": "/spec/size", "value": 3},
    ]
    with pytest.raises(HyperdError):
        await store.patch(WIDGETS, "default", "w", PatchType.JSON, test)
    assert (await store.get(WIDGETS, "default", "w")).object()["spec"]["size"] == 2


async def test_blind_patches_of_different_fields_all_arrive(store: Store) -> None:
    await store.create(WIDGETS, "default", widget("w"))
    # An API server gives up after five lost races.
    await asyncio.gather(
        *(
            store.patch(WIDGETS, "default", "w", PatchType.MERGE, {"metadata": {"labels": {f"l{number}": "x"}}})
            for number in range(5)
        )
    )
    labels = (await store.get(WIDGETS, "default", "w")).object()["metadata"]["labels"]
    assert set(labels) == {f"l{number}" for number in range(5)}


async def test_those_who_count_by_compare_and_set_lose_no_step(store: Store) -> None:
    await store.create(WIDGETS, "default", widget("w", size=0))

    async def step() -> Item:
        while True:
            obj = (await store.get(WIDGETS, "default", "w")).object()
            obj["spec"]["size"] += 1
            try:
                return await store.update(WIDGETS, "default", "w", obj)
            except Conflict:
                continue

    versions = [item.resource_version for item in await asyncio.gather(*(step() for _ in range(20)))]
    assert (await store.get(WIDGETS, "default", "w")).object()["spec"]["size"] == 20
    assert len(set(versions)) == 20


async def test_of_those_who_delete_one_object_one_succeeds(store: Store) -> None:
    await store.create(WIDGETS, "default", widget("w"))
    results = await asyncio.gather(*(outcome(store.delete(WIDGETS, "default", "w")) for _ in range(20)))
    assert Counter(results) == {"done": 1, "NotFound": 19}
