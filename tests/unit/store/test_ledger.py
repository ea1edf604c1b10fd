"""What is on its way to the file is counted, whatever the sizes of the writes that meet are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from hyperd.resources.all import CONFIG_MAP, KINDS, NAMESPACE
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import Item, PatchType, User, Write
from hyperd.store.records import Change

NS = "shop"
ALICE = Write(user=User("alice"))
_RANDOM = random.Random(7)
MIXES = [
    # Nothing is added beside what adds something; sums that come to 0 while others are on their way.
    (0, 0),
    (5, 0),
    (0, 5),
    (3, 5, -5),
    (-4, 4, 0, 0),
    *(tuple(_RANDOM.randint(-3, 3) for _ in range(12)) for _ in range(20)),
]


async def patched(store: EmbeddedStore, name: str, size: int) -> None:
    await store.patch(CONFIG_MAP, NS, name, PatchType.MERGE, {"data": {"text": "x" * size}})


@pytest.mark.parametrize("mix", MIXES, ids=str)
async def test_writes_of_any_sizes_meet_in_a_namespace(tmp_path: Path, mix: Sequence[int]) -> None:
    store = EmbeddedStore(
        tmp_path / "store.db", settings=StoreSettings(namespace_bytes=1 << 20), admit=None, kinds=KINDS
    )
    async with opened_store(store):
        await store.create(NAMESPACE, "", {"metadata": {"name": NS}})
        names = [f"one-{index}" for index in range(len(mix))]
        for name in names:
            await store.create(CONFIG_MAP, NS, {"metadata": {"name": name}, "data": {"text": "y" * 9}})
            # Owners are noted now, so that only the text's length changes below.
            await patched(store, name, 9)
        writes = (
            store.patch(CONFIG_MAP, NS, name, PatchType.MERGE, {"data": {"text": "z" * (9 + more)}})
            for name, more in zip(names, mix, strict=True)
        )
        await asyncio.gather(*writes)
        for name, more in zip(names, mix, strict=True):
            assert len((await store.get(CONFIG_MAP, NS, name)).object()["data"]["text"]) == 9 + more
        assert not store._ledger._growing
        assert not store._ledger._growth


async def test_what_is_in_memory_is_counted_once_though_its_writer_has_not_run_again(tmp_path: Path) -> None:
    store = EmbeddedStore(
        tmp_path / "store.db", settings=StoreSettings(namespace_bytes=100 << 10), admit=None, kinds=KINDS
    )
    async with opened_store(store):
        await store.create(NAMESPACE, "", {"metadata": {"name": NS}})
        next_ones = list[asyncio.Task[Item]]()

        async def half(name: str) -> Item:
            body = {"metadata": {"name": name}, "data": {"text": "x" * (45 << 10)}}
            return await store.create(CONFIG_MAP, NS, body, write=ALICE)

        def follow(changes: Sequence[Change]) -> None:
            # It runs before the task whose write this is.
            if changes[0].item.name == "first":
                next_ones.append(asyncio.create_task(half("second")))

        store._ledger.observe(follow)
        await half("first")
        assert (await next_ones[0]).name == "second"
