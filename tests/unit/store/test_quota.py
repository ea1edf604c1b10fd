"""What a namespace may take: ResourceQuotas in Kubernetes' words, and its share of the store's bytes."""

from __future__ import annotations

import asyncio
import copy
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import Invalid, QuotaExceeded
from hyperd.resources.all import (
    CONFIG_MAP,
    NAMESPACE,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import PatchType, Rehearsal, Write
from tests.unit.resources.samples import machine
from tests.unit.store.quotas import ALICE, NS, WORDS, disk, instance, limit, opened, take, used


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    async with opened_store(await opened(tmp_path)) as one:
        await one.create(NAMESPACE, "", {"metadata": {"name": NS}})
        yield one


async def test_a_rehearsal_counts_what_goes_before_and_what_was_rehearsed(store: EmbeddedStore) -> None:
    for name in ("a", "b"):
        await take(store, name, "1Mi")
    await limit(store, requests_storage="1536Ki")
    write = Write(dry_run=True, rehearsal=Rehearsal([(VIRTUAL_DISK, "a"), (VIRTUAL_DISK, "b")]))
    await store.create(VIRTUAL_DISK, NS, disk("c", "1Mi"), write=write)
    with pytest.raises(QuotaExceeded) as caught:
        await store.create(VIRTUAL_DISK, NS, disk("d", "1Mi"), write=write)
    words = WORDS.format(*(f"requests.storage={size}" for size in ("1Mi", "1Mi", "1536Ki")))
    assert caught.value.message.endswith(words)
    assert await store.find(VIRTUAL_DISK, NS, "c") is None


async def test_a_snapshot_takes_as_many_bytes_as_its_disk_has(store: EmbeddedStore) -> None:
    await limit(store, requests_storage="3Gi")
    snapshot: Object = {"metadata": {"name": "s"}, "spec": {"virtualDiskName": "a"}}
    stored = (await store.create(VIRTUAL_DISK_SNAPSHOT, NS, snapshot)).object()
    stored["status"] = {"source": {"uid": "u", "size": "4Gi"}}
    with pytest.raises(QuotaExceeded, match=r"requests.storage=4Gi, used: requests.storage=0"):
        await store.update(VIRTUAL_DISK_SNAPSHOT, NS, "s", stored, subresource="status")
    stored["status"] = {"source": {"uid": "u", "size": "2Gi"}}
    stored = (await store.update(VIRTUAL_DISK_SNAPSHOT, NS, "s", stored, subresource="status")).object()
    with pytest.raises(QuotaExceeded):
        await take(store, "b", "2Gi")
    await take(store, "c", "1Gi")
    stored["status"]["phase"] = "Failed"
    stored = (await store.update(VIRTUAL_DISK_SNAPSHOT, NS, "s", stored, subresource="status")).object()
    await take(store, "b", "2Gi", there=True)
    # What is lost may come back: it is told as it is, and refused by nobody.
    stored["status"] |= {"volumeSnapshotName": "v"}
    await store.update(VIRTUAL_DISK_SNAPSHOT, NS, "s", stored, subresource="status")
    await used(store, requests_storage="5Gi")


async def test_what_is_counted_is_refused_in_kubernetes_words_and_comes_free_again(store: EmbeddedStore) -> None:
    await limit(store, count__secrets="1", configmaps="2")
    await store.create(SECRET, NS, {"metadata": {"name": "a"}}, write=ALICE)
    with pytest.raises(QuotaExceeded) as caught:
        await store.create(SECRET, NS, {"metadata": {"name": "b"}}, write=ALICE)
    words = WORDS.format("count/secrets=1", "count/secrets=1", "count/secrets=1")
    assert caught.value.message == f'secrets "b"{words}'
    assert (caught.value.code, caught.value.reason) == (403, "Forbidden")
    with pytest.raises(QuotaExceeded):
        await store.create(SECRET, NS, {"metadata": {"name": "b"}}, write=Write(dry_run=True))
    await used(store, count__secrets="1", configmaps="0")
    await store.delete(SECRET, NS, "a")
    await store.create(SECRET, NS, {"metadata": {"name": "b"}}, write=ALICE)
    await store.create(SECRET, "default", {"metadata": {"name": "elsewhere"}}, write=ALICE)
    await used(store, count__secrets="1", configmaps="0")
    await store.update(SECRET, NS, "b", {"metadata": {"name": "b"}, "stringData": {"k": "v"}}, write=ALICE)


@pytest.mark.parametrize(
    ("kind", "name", "body"),
    [
        (SECRET, "secrets", {}),
        (SECRET, "count/secrets", {}),
        (CONFIG_MAP, "count/configmaps", {}),
        (VIRTUAL_DISK, "count/virtualdisks.virtualization.deckhouse.io", disk("x", "1Mi")),
        (VIRTUAL_MACHINE, "count/virtualmachines.virtualization.deckhouse.io", machine()),
        (SERVICE, "services", {"spec": {"clusterIP": "None"}}),
        (SERVICE, "services.nodeports", {"spec": {"type": "NodePort", "ports": [{"port": 1}]}}),
        (SERVICE, "services.loadbalancers", {"spec": {"type": "LoadBalancer", "ports": [{"port": 1}]}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_of_many_at_once_no_more_come_in_than_there_is_room_for(
    store: EmbeddedStore, kind: Kind, name: str, body: Object
) -> None:
    await store.create(RESOURCE_QUOTA, NS, {"metadata": {"name": "q"}, "spec": {"hard": {name: "5"}}})

    async def make(number: int) -> bool:
        obj = {**copy.deepcopy(body), "metadata": {"name": f"x{number}"}}
        try:
            await store.create(kind, NS, obj, write=ALICE)
        except QuotaExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*map(make, range(20)))) == 5
    assert len((await store.list(kind, NS)).items) == 5


async def test_of_many_claims_at_once_no_more_come_in_than_there_is_room_for(store: EmbeddedStore) -> None:
    hard = {"persistentvolumeclaims": "9", "fast.storageclass.storage.k8s.io/requests.storage": "5Gi"}
    await store.create(RESOURCE_QUOTA, NS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})

    async def claim(number: int) -> bool:
        try:
            await take(store, f"x{number}", "1Gi", "fast")
        except QuotaExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*map(claim, range(20)))) == 5
    assert len((await store.list(VIRTUAL_DISK, NS)).items) == 20, "a disk without room is there, and waits"
    assert sum(await asyncio.gather(*(claim(number) for number in range(20, 30)))) == 0
    await used(store, persistentvolumeclaims="5", **{"fast.storageclass.storage.k8s.io__requests.storage": "5Gi"})


async def test_storage_is_counted_by_claim_and_class_and_again_when_it_asks_for_more(store: EmbeddedStore) -> None:
    name = "local.storageclass.storage.k8s.io/requests.storage"
    hard = {"requests.storage": "10Gi", name: "6Gi"}
    await store.create(RESOURCE_QUOTA, NS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    await take(store, "a", "5Gi")
    with pytest.raises(QuotaExceeded) as caught:
        await take(store, "b", "2Gi")
    assert caught.value.message.endswith(WORDS.format(f"{name}=2Gi", f"{name}=5Gi", f"{name}=6Gi"))
    await take(store, "b", "3Gi", "other", there=True)
    made: Object = {"status": {"phase": "Ready", "capacity": "3Gi", "target": {"size": None}}}
    await store.patch(VIRTUAL_DISK, NS, "b", PatchType.MERGE, made, subresource="status")
    # What is asked for is nobody's until the claim has it.
    wanted = {"spec": {"persistentVolumeClaim": {"size": "8Gi"}}}
    await store.patch(VIRTUAL_DISK, NS, "b", PatchType.MERGE, wanted, write=ALICE)
    with pytest.raises(QuotaExceeded) as caught:
        await take(store, "b", "8Gi", "other", there=True)
    assert "requested: requests.storage=5Gi, used: requests.storage=8Gi" in caught.value.message
    await take(store, "b", "5Gi", "other", there=True)
    await used(store, requests_storage="10Gi", **{name.replace("/", "__").replace(".", "_"): "5Gi"})
    # What is there is told as it is.
    more: Object = {"status": {"phase": "Ready", "capacity": "6Gi", "target": {"size": None}}}
    await store.patch(VIRTUAL_DISK, NS, "b", PatchType.MERGE, more, subresource="status")


async def test_an_image_on_a_volume_is_counted_as_its_claim_and_one_in_the_registry_is_not(
    store: EmbeddedStore,
) -> None:
    await limit(store, requests_storage="3Gi", persistentvolumeclaims="5")
    spec = {"dataSource": {"type": "HTTP", "http": {"url": "http://a.test/x"}}}
    for name in ("a", "b"):
        await store.create(VIRTUAL_IMAGE, NS, {"metadata": {"name": name}, "spec": spec}, write=ALICE)

    async def show(name: str, **status: Any) -> None:
        body: Object = {"status": status}
        await store.patch(VIRTUAL_IMAGE, NS, name, PatchType.MERGE, body, subresource="status")

    await show("a", phase="Ready", size={"unpackedBytes": str(9 << 30)}, target={"registryURL": "x"})
    with pytest.raises(QuotaExceeded, match=r"requested: requests.storage=4Gi, used: requests.storage=0"):
        await show("b", target={"persistentVolumeClaimName": "c", "size": "4Gi"}, storageClassName="local")
    await show("b", target={"persistentVolumeClaimName": "c", "size": "2Gi"}, storageClassName="local")
    await show("b", phase="Ready", size={"unpackedBytes": str((2 << 30) - 7)}, target={"size": None})
    await used(store, requests_storage="2Gi", persistentvolumeclaims="1")


async def test_a_machine_is_charged_while_it_is_started_and_what_runs_is_never_refused(
    store: EmbeddedStore,
) -> None:
    await limit(store, requests_cpu="1500m", limits_cpu="4", requests_memory="4Gi", pods="3")
    for name in "abc":
        await store.create(VIRTUAL_MACHINE, NS, {**machine(), "metadata": {"name": name}}, write=ALICE)

    async def show(name: str, body: Object) -> None:
        await store.patch(VIRTUAL_MACHINE, NS, name, PatchType.MERGE, body, subresource="status")

    await show("a", instance("Pending"))
    await show("a", instance("Starting"))
    await show("a", instance("Running"))
    with pytest.raises(QuotaExceeded) as caught:
        await show("b", instance("Starting"))
    words = WORDS.format("requests.cpu=1", "requests.cpu=1", "requests.cpu=1500m")
    assert caught.value.message == f'virtualmachines.virtualization.deckhouse.io "b"{words}'
    await show("b", instance("Running"))
    await used(store, limits_cpu="4", pods="2", requests_cpu="2", requests_memory="2208Mi")
    await show("a", instance("Stopped"))
    await used(store, limits_cpu="2", pods="1", requests_cpu="1", requests_memory="1104Mi")
    await show("c", instance("Starting", cores=1))
    with pytest.raises(QuotaExceeded):
        await show("a", instance("Starting"))


async def test_starts_at_once_share_what_is_left(store: EmbeddedStore) -> None:
    await limit(store, requests_cpu="3")
    names = [f"m{number}" for number in range(8)]
    for name in names:
        await store.create(VIRTUAL_MACHINE, NS, {**machine(), "metadata": {"name": name}})

    async def start(name: str) -> bool:
        body = instance("Starting")
        try:
            await store.patch(VIRTUAL_MACHINE, NS, name, PatchType.MERGE, body, subresource="status")
        except QuotaExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*map(start, names))) == 3


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"hard": {"pods": "-1"}}, "spec.hard[pods]"),
        ({"hard": {"pods": "1.5"}}, "spec.hard[pods]"),
        ({"hard": {"cpu": "much"}}, "spec.hard[cpu]"),
        ({"hard": {"cpus": "1"}}, "spec.hard[cpus]"),
        ({"hard": {"count/": "1"}}, "spec.hard[count/]"),
        ({"scopes": ["BestEffort"]}, "spec.scopes"),
    ],
)
async def test_a_quota_that_means_nothing_is_refused(store: EmbeddedStore, spec: Object, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        await store.create(RESOURCE_QUOTA, NS, {"metadata": {"name": "q"}, "spec": spec})
    assert caught.value.causes[0].field == field


@asynccontextmanager
async def nothing_is_written(store: EmbeddedStore) -> AsyncIterator[None]:
    """The writer thread stands still, with whatever is handed to it waiting."""
    gate = threading.Event()
    held = asyncio.ensure_future(store._engine.read(lambda _: gate.wait(30)))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        gate.set()
        await held


async def on_its_way(store: EmbeddedStore, write: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """``write``, begun, and known to wait for the writer thread."""
    task = asyncio.create_task(write)
    while not store._ledger.writing_in(NS):
        await asyncio.sleep(0)
    return task


async def test_what_a_write_gives_back_is_free_once_it_is_written_and_not_before(tmp_path: Path) -> None:
    async with opened_store(await opened(tmp_path, namespace_bytes=1 << 20)) as store:
        await store.create(NAMESPACE, "", {"metadata": {"name": NS}})
        await limit(store, requests_storage="10Gi")
        much = "v" * (900 << 10)
        await store.create(CONFIG_MAP, NS, {"metadata": {"name": "a"}, "data": {"k": much}}, write=ALICE)
        await take(store, "a", "9Gi")
        await store.create(VIRTUAL_DISK, NS, disk("b", "9Gi"), write=ALICE)

        async def in_vain(write: Coroutine[Any, Any, Any]) -> str:
            with pytest.raises(QuotaExceeded) as caught:
                await write
            return caught.value.message

        def bigger_disk() -> Coroutine[Any, Any, Any]:
            return take(store, "b", "9Gi", there=True)

        def bigger_map() -> Coroutine[Any, Any, Any]:
            return store.create(CONFIG_MAP, NS, {"metadata": {"name": "b"}, "data": {"k": much}}, write=ALICE)

        async with nothing_is_written(store), asyncio.timeout(20):
            shrink = await on_its_way(store, take(store, "a", "1Gi", there=True))
            assert "used: requests.storage=9Gi" in await in_vain(bigger_disk())
        await shrink
        await bigger_disk()

        async with nothing_is_written(store), asyncio.timeout(20):
            emptied = store.update(CONFIG_MAP, NS, "a", {"metadata": {"name": "a"}})
            shrink = await on_its_way(store, emptied)
            assert "store.namespace_bytes" in await in_vain(bigger_map())
        await shrink
        await bigger_map()


async def test_writes_on_their_way_cost_the_next_one_nothing_and_a_namespace_that_went_is_forgotten(
    store: EmbeddedStore,
) -> None:
    await limit(store, configmaps="100000", requests_storage="1Pi")
    quotas = store._quotas

    for number in range(300):
        await store.create(VIRTUAL_DISK, NS, disk(f"d{number}", "1Gi"))
    calls = 0

    def counting(*_: Any) -> None:
        nonlocal calls
        calls += 1

    async with nothing_is_written(store), asyncio.timeout(60):
        tasks = [await on_its_way(store, take(store, f"d{number}", "1Gi", there=True)) for number in range(300)]
        while len(quotas._pending) < len(tasks):
            await asyncio.sleep(0)
        names = frozenset({"requests.storage"})
        assert quotas.used(NS, names) == {"requests.storage": 300 << 30}
        sys.setprofile(counting)
        try:
            quotas.used(NS, names)
        finally:
            sys.setprofile(None)
    assert calls < 300
    await asyncio.gather(*tasks)
    assert quotas.used(NS, names) == {"requests.storage": 300 << 30}
    assert not quotas._pending
    assert not quotas._pending_total
    await store.delete(NAMESPACE, "", NS)
    async with asyncio.timeout(20), store.watch(NAMESPACE) as watch:
        async for event in watch:
            if event.item.name == NS and event.type == "DELETED":
                break
    assert not quotas._counts


async def test_a_full_namespace_costs_a_write_no_more_than_an_empty_one(store: EmbeddedStore) -> None:
    await limit(store, requests_storage="100Ti", configmaps="100000")
    quotas = store._quotas

    def cost() -> float:
        began = time.thread_time()
        for _ in range(200):
            quotas.used(NS, frozenset({"requests.storage", "configmaps"}))
        return time.thread_time() - began

    await take(store, "first", "1Gi")
    empty = cost()
    for start in range(0, 3000, 500):
        await asyncio.gather(*(take(store, f"d{start + number}", "1Gi") for number in range(500)))
    assert quotas.used(NS, frozenset({"requests.storage"}))["requests.storage"] == 3001 << 30
    assert cost() < 10 * empty + 0.02
    await store.delete(VIRTUAL_DISK, NS, "d7")
    await take(store, "d8", "3Gi", there=True)
    assert quotas.used(NS, frozenset({"requests.storage"}))["requests.storage"] == 3002 << 30
