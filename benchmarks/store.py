"""The store against bare SQLite in the same run, watches under load, and writes on the Kubernetes home.

The store and SQLite make the same two durable rows a write (the object and its line in the log) with bodies of the
same size, in files beside each other. The other home's writes are durable too: its etcd syncs them.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

import apsw

from benchmarks.kubernetes import kubernetes
from benchmarks.report import beside, report
from hyperd.resources.schema.kind import Kind, Object, Registry
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import EventType, Store

KINDS = Registry()
KINDS.add(Kind("", "v1", "Namespace", "namespaces", "namespace", namespaced=False))
CONFIG_MAPS = KINDS.add(Kind("", "v1", "ConfigMap", "configmaps", "configmap", namespaced=True))

BODY = "y" * 1000
ROUNDS = 7
SECONDS = 0.5
"""Of one measurement of one round. Rounds alternate between both sides, so that other load meets both alike."""

WATCHERS = 100
EVENTS_PER_SECOND = 200
WATCH_SECONDS = 5.0


def bare_database(path: Path) -> apsw.Connection:
    """SQLite as durable as the store, with the same two tables."""
    db = apsw.Connection(str(path))
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TABLE obj(id INTEGER PRIMARY KEY, ns, name, uid, rv, body, UNIQUE(ns, name))")
    db.execute("CREATE TABLE log(rv INTEGER PRIMARY KEY, type, ns, name, body)")
    return db


def bare_writes(db: apsw.Connection) -> float:
    """Durable writes a second of one client at a time, straight into SQLite."""
    first = next(db.execute("SELECT coalesce(max(rv), 0) FROM log"))[0]
    body = BODY.encode() + b" " * 250
    started = time.perf_counter()
    count = 0
    while time.perf_counter() - started < SECONDS:
        count += 1
        row = ("default", f"c{count % 64}", "uid", first + count, body)
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "INSERT INTO obj(ns, name, uid, rv, body) VALUES(?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET rv = excluded.rv, body = excluded.body",
            row,
        )
        db.execute("INSERT INTO log VALUES(?, 'MODIFIED', ?, ?, ?)", (first + count, "default", row[1], body))
        db.execute("COMMIT")
    return count / (time.perf_counter() - started)


async def store_writes(store: Store, clients: int) -> float:
    """Durable writes a second of so many clients, each updating an object of its own."""
    written = 0
    stop_at = time.perf_counter() + SECONDS

    async def client(number: int) -> None:
        nonlocal written
        body: Object = {"metadata": {"generateName": f"w{number}-"}, "data": {"text": BODY}}
        obj = (await store.create(CONFIG_MAPS, "default", body)).object()
        while time.perf_counter() < stop_at:
            obj["data"]["turn"] = str(written)
            obj = (await store.update(CONFIG_MAPS, "default", obj["metadata"]["name"], obj)).object()
            written += 1

    started = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    return written / (time.perf_counter() - started)


async def watch_fan_out(store: EmbeddedStore) -> tuple[int, int, float]:
    """(events due, events seen, p99 of milliseconds from before the write to the reader), all watchers."""
    total = int(WATCH_SECONDS * EVENTS_PER_SECOND)
    sent: dict[str, float] = {}
    delays: list[float] = []
    ready = asyncio.Barrier(WATCHERS + 1)

    async def watcher() -> int:
        seen = 0
        async with store.watch(CONFIG_MAPS, "default", send_initial=False) as events:
            await ready.wait()
            async for event in events:
                if event.type is EventType.ADDED:
                    _ = event.line
                    delays.append(time.perf_counter() - sent[event.item.name])
                    seen += 1
                    if seen == total:
                        break
        return seen

    tasks = [asyncio.create_task(watcher()) for _ in range(WATCHERS)]
    await ready.wait()
    started = time.perf_counter()
    for number in range(total):
        await asyncio.sleep(max(0.0, started + number / EVENTS_PER_SECOND - time.perf_counter()))
        name = f"e{number}"
        sent[name] = time.perf_counter()
        await store.create(CONFIG_MAPS, "default", {"metadata": {"name": name}, "data": {"text": BODY}})
    done, late = await asyncio.wait(tasks, timeout=10)
    for task in late:
        task.cancel()
    delays.sort()
    return total * WATCHERS, sum(task.result() for task in done), delays[int(len(delays) * 0.99)] * 1000


async def writes_on_kubernetes() -> list[float]:
    """Durable writes a second of 1 and of 64 clients."""
    async with kubernetes(durable=True) as (_, store):
        rounds = [(await store_writes(store, 1), await store_writes(store, 64)) for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


async def run(folder: Path) -> bool:
    store = EmbeddedStore(folder / "store.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    async with opened_store(store):
        database = bare_database(folder / "bare.db")
        rounds = [
            (bare_writes(database), await store_writes(store, 1), await store_writes(store, 64))
            for _ in range(ROUNDS)
        ]
        database.close()
        bare, one, many = (statistics.median(column) for column in zip(*rounds, strict=True))
        verdicts = [one >= 0.6 * bare, many >= 4 * bare]
        against = "bare SQLite, one client at a time"
        report("store_writes_1_client", one, "writes/s", against, bare, ">= 0.6x", verdicts[0])
        report("store_writes_64_clients", many, "writes/s", against, bare, ">= 4x", verdicts[1])
        gc.collect()
        expected, seen, p99 = await watch_fan_out(store)
        verdicts += [seen == expected, p99 < 25]
        report("watch_events_delivered", seen, "events", "events due", expected, "none lost", verdicts[2])
        report("watch_delay_p99", p99, "ms", "", None, "< 25 ms", verdicts[3])
    other_one, other_many = await writes_on_kubernetes()
    beside("store_writes_1_client", other_one, "writes/s", one)
    beside("store_writes_64_clients", other_many, "writes/s", many)
    return all(verdicts)


def main() -> int:
    """Exit status 1 when a goal is missed."""
    with tempfile.TemporaryDirectory(prefix="hyperd-bench-") as folder:
        return 0 if asyncio.run(run(Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
