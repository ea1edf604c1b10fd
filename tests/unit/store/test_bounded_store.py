"""What the store's file takes: a share for each namespace, and a bound for past events."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hyperd.errors import HyperdError
from hyperd.resources.all import (
    CONFIG_MAP,
    NAMESPACE,
)
from hyperd.store.embedded.store import opened_store
from tests.unit.store.quotas import ALICE, NS, opened


async def test_a_namespace_takes_no_more_than_its_share_of_the_store(tmp_path: Path) -> None:
    async with opened_store(await opened(tmp_path, namespace_bytes=1 << 20)) as store:
        for name in (NS, "other"):
            await store.create(NAMESPACE, "", {"metadata": {"name": name}})

        async def make(number: int, namespace: str = NS) -> HyperdError | None:
            body = {"metadata": {"name": f"x{number}"}, "data": {"k": "v" * (100 << 10)}}
            try:
                await store.create(CONFIG_MAP, namespace, body, write=ALICE)
            except HyperdError as err:
                return err
            return None

        refusals = [err for err in await asyncio.gather(*map(make, range(40))) if err is not None]
        assert 30 <= len(refusals) <= 32
        assert "store.namespace_bytes" in refusals[0].message
        assert refusals[0].code == 403
        assert await make(1, "other") is None
        await store.create(CONFIG_MAP, NS, {"metadata": {"name": "ours"}, "data": {"k": "v" * (100 << 10)}})
        first, second, third, *_ = (item.name for item in (await store.list(CONFIG_MAP, NS)).items)
        await store.delete(CONFIG_MAP, NS, first)
        await store.delete(CONFIG_MAP, NS, second)
        assert await make(41) is None
        small = {"metadata": {"name": third}, "data": {"k": "v"}}
        await store.update(CONFIG_MAP, NS, third, small, write=ALICE)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("store.db*"))


async def test_the_log_of_events_is_bounded_in_bytes_and_so_is_the_file(tmp_path: Path) -> None:
    async with opened_store(await opened(tmp_path, watch_log_bytes=2 << 20)) as store:
        await store.create(CONFIG_MAP, "default", {"metadata": {"name": "x"}})
        for number in range(100):
            body = {"metadata": {"name": "x"}, "data": {"k": str(number) * (100 << 10)}}
            await store.update(CONFIG_MAP, "default", "x", body, write=ALICE)
        assert await asyncio.to_thread(size_of, tmp_path) < 24 << 20
        since = (await store.list(CONFIG_MAP, "default")).resource_version
        await store.update(CONFIG_MAP, "default", "x", {"metadata": {"name": "x"}}, write=ALICE)
        async with store.watch(CONFIG_MAP, "default", resource_version=since, timeout=0.1) as watch:
            assert [event.type async for event in watch] == ["MODIFIED"]
