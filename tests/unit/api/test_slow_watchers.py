"""Watchers that do not read, read slowly or vanish: they are dropped, and the daemon's memory stays flat."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from hyperd.api.endpoints import answers
from hyperd.errors import Expired
from hyperd.resources.all import CONFIG_MAP
from hyperd.store.interface import Watch, WatchEvent
from tests.unit.api.conftest import Api, config_map, serving

MAPS = "/api/v1/namespaces/default/configmaps"
BODY = 100_000


def resident_bytes() -> int:
    fields = Path(f"/proc/{os.getpid()}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


async def open_watch(api: Api, query: str = "watch=1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A raw connection with a watch on it, of which only the head is read."""
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path), limit=64 << 10)
    writer.write(f"GET {MAPS}?{query} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert b" 200 " in await reader.readline()
    return reader, writer


async def churn(api: Api, times: int) -> None:
    """Replace one large object again and again; only the last of its states is worth memory."""
    for number in range(times):
        await api.call("PUT", f"{MAPS}/big", config_map("big", text=f"{number:06}" + "x" * BODY))


async def replace(api: Api, times: int) -> None:
    """So many changes of one object, past HTTP."""
    for number in range(times):
        await api.store.update(CONFIG_MAP, "default", "c", config_map("c", text=f"{number}-{times}" + "x" * 2000))


async def test_ten_watchers_that_never_read_cost_nothing_that_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SLOW_READER_SECONDS", 1.0)
    async with serving(folder) as api:
        await api.call("POST", MAPS, config_map("big"))
        await churn(api, 60)
        watches = [await open_watch(api) for _ in range(10)]
        before = resident_bytes()
        await churn(api, 600)
        grown = resident_bytes() - before
        # 600 states of 100 kB went by, and ten watches wanted all of them.
        assert grown < 48 << 20, f"{grown >> 20} MiB"
        async with asyncio.timeout(30):
            while api.store.watchers:
                await asyncio.sleep(0.05)
        status, _ = await api.call("GET", f"{MAPS}/big")
        assert status == 200
        for _, writer in watches:
            writer.close()


async def test_a_watcher_too_slow_for_its_queue_is_told_410_and_finds_everything_in_a_new_list(
    folder: Path,
) -> None:
    async with serving(folder) as api:
        api.store._hub.queue_limit = 50
        reader, writer = await open_watch(api)
        for number in range(40):
            await asyncio.gather(
                *(api.call("POST", MAPS, config_map(f"c{number}-{n}", text="x" * 3000)) for n in range(20))
            )
        # It begins to read: some events, and then why there are no more.
        async with asyncio.timeout(20):
            content = b""
            while b'"code":410}}\n' not in content:
                piece = await reader.read(1 << 16)
                assert piece, content[-500:]
                content += piece
        writer.close()
        assert b'"type":"ERROR"' in content
        assert b'"reason":"Expired"' in content
        _, listed = await api.call("GET", MAPS)
        assert len(listed["items"]) == 800


async def test_a_large_event_to_a_reader_that_hangs_does_not_hold_the_watch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SLOW_READER_SECONDS", 0.3)
    async with serving(folder) as api:
        _, writer = await open_watch(api)
        await api.call("POST", MAPS, config_map("big", text="x" * 1_000_000))
        async with asyncio.timeout(10):
            while api.store.watchers:
                await asyncio.sleep(0.02)
        writer.close()


async def test_a_watch_whose_past_is_pruned_while_it_reads_ends_with_410(folder: Path) -> None:
    async with serving(folder) as api:
        api.store._engine._log_events = 700
        _, first = await api.call("POST", MAPS, config_map("c"))
        version = first["metadata"]["resourceVersion"]
        await replace(api, 650)
        reader, writer = await open_watch(api, f"watch=1&resourceVersion={version}")
        async with asyncio.timeout(30):
            # The socket is full before the first part of the log is sent; meanwhile the log moves on.
            await replace(api, 900)
            seen, last = [], b""
            while line := await reader.readline():
                last = line
                seen += re.findall(rb'"resourceVersion":"(\d+)"', line) if b'"type":"MODIFIED"' in line else []
                if b'"ERROR"' in line:
                    break
        writer.close()
        assert orjson.loads(last)["object"]["code"] == 410
        versions = [int(text) for text in seen]
        assert versions == sorted(set(versions))
        assert versions[0] > int(version)


async def test_a_watch_that_fails_tells_first_what_came_before(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        await api.store.create(CONFIG_MAP, "default", config_map(name))
    watch = api.store.watch

    @asynccontextmanager
    async def failing(*args: Any, **options: Any) -> AsyncIterator[Watch]:
        async with watch(*args, **options) as events:

            async def some() -> AsyncIterator[WatchEvent]:
                async for event in events:
                    yield event
                    if event.item.name == "two":
                        raise Expired("too old")

            yield some()

    monkeypatch.setattr(api.store, "watch", failing)
    async with api.client.get(f"http://h{MAPS}?watch=1&fieldSelector=metadata.name!=kube-root-ca.crt") as response:
        told = [orjson.loads(line) for line in (await response.read()).splitlines()]
    assert [one["type"] for one in told] == ["ADDED", "ADDED", "ERROR"]
