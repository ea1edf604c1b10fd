"""What guests and nodes have used: measured when it is asked for, listed, watched, and written by nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.api.stats import sampler
from hyperd.api.stats.sampler import Sampler
from hyperd.api.stats.unstored import StatsStore
from hyperd.resources.core.stats import NODE_STATS
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from tests.unit.api.conftest import Api, serving
from tests.unit.api.measured import Guests
from tests.unit.api.test_identity import bearer, token

STATS = "/apis/stats.virtualization.deckhouse.io/v1alpha1"
MACHINES = f"{STATS}/namespaces/shop/virtualmachinestats"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.fixture
def guests() -> Guests:
    return Guests()


@pytest.fixture
async def api(folder: Path, guests: Guests, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(sampler, "WATCHED_SECONDS", 0.05)
    monkeypatch.setattr(sampler, "FRESH_SECONDS", 0.0)
    taken = Sampler(guests, storage=folder)
    async with serving(folder, sampler=taken) as running:
        taking = asyncio.create_task(taken.run())
        yield running
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


async def events(api: Api, path: str) -> AsyncGenerator[dict[str, Any]]:
    async with api.client.get(f"http://h{path}") as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            yield json.loads(line)


async def test_a_running_machine_is_measured_as_its_guest_counts(api: Api, guests: Guests) -> None:
    guests.run("web-1")
    status, found = await api.call("GET", f"{MACHINES}/web-1")
    assert status == 200
    assert found["node"] == "n1"
    assert found["cpu"] == {"cores": 2, "nanoseconds": 1000, "waitNanoseconds": 0}
    assert found["memory"] == {"bytes": 1 << 30, "residentBytes": 1 << 29}
    assert found["disks"] == [
        {"target": "sda", "readBytes": 10, "readRequests": 1, "writeBytes": 20, "writeRequests": 2}
    ]
    assert found["interfaces"] == [{"name": "tap0", "receivedBytes": 9, "sentBytes": 7}]
    assert found["uptimeNanoseconds"] > 0
    status, refused = await api.call("GET", f"{MACHINES}/off")
    assert (status, refused["reason"]) == (404, "NotFound")
    _, table = await api.call("GET", MACHINES, headers=TABLE)
    assert table["rows"][0]["cells"] == ["web-1", "n1", 1000, 1 << 29]


async def test_the_node_is_measured_too(api: Api, guests: Guests) -> None:
    guests.run("web-1", "web-2")
    _, listed = await api.call("GET", f"{STATS}/nodestats")
    (node,) = listed["items"]
    assert (node["metadata"]["name"], node["machines"]) == ("n1", 2)
    assert 0 < node["memory"]["availableBytes"] < node["memory"]["bytes"]
    assert 0 <= node["storage"]["availableBytes"] <= node["storage"]["bytes"]
    assert node["cpu"]["nanoseconds"] > 0


async def test_many_who_ask_at_once_share_one_call(
    api: Api, guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "FRESH_SECONDS", 60.0)
    guests.run("web-1")
    before = guests.calls
    await asyncio.gather(*(api.call("GET", MACHINES) for _ in range(20)))
    assert guests.calls <= before + 1


async def test_a_watch_tells_what_comes_changes_and_goes_and_goes_on_from_a_list(api: Api, guests: Guests) -> None:
    guests.run("web-1")
    guests.run("other", namespace="lab")
    _, listed = await api.call("GET", MACHINES)
    version = listed["metadata"]["resourceVersion"]
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(10):
        async for event in events(api, f"{MACHINES}?watch=true&resourceVersion={version}"):
            seen.append((event["type"], event["object"]["metadata"]["name"]))
            assert int(event["object"]["metadata"]["resourceVersion"]) >= int(version)
            if seen[-1] == ("MODIFIED", "web-1") and ("ADDED", "web-2") not in seen:
                guests.run("web-2")
            elif seen[-1] == ("MODIFIED", "web-2"):
                guests.used.pop("uid-web-1", None)
            elif seen[-1] == ("DELETED", "web-1"):
                break
    assert ("ADDED", "web-1") not in seen
    assert ("ADDED", "web-2") in seen
    assert {name for _, name in seen} == {"web-1", "web-2"}


async def test_the_end_of_what_is_there_is_told_as_kubernetes_clients_look_for_it(
    api: Api, guests: Guests
) -> None:
    guests.run("web-1")
    asked = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    watching = events(api, f"{MACHINES}?{asked}")
    async with asyncio.timeout(20):
        assert (await anext(watching))["type"] == "ADDED"
        end = await anext(watching)
    await watching.aclose()
    assert end["type"] == "BOOKMARK"
    assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_version_that_is_not_kept_is_expired(api: Api, guests: Guests) -> None:
    guests.run("web-1")
    await api.call("GET", MACHINES)
    (event,) = [one async for one in events(api, f"{MACHINES}?watch=true&resourceVersion=5")]
    assert (event["type"], event["object"]["reason"]) == ("ERROR", "Expired")


async def test_a_hypervisor_that_is_away_is_said_and_a_watch_outlives_it(api: Api, guests: Guests) -> None:
    guests.run("web-1")
    watching = events(api, f"{MACHINES}?watch=true")
    async with asyncio.timeout(10):
        assert (await anext(watching))["type"] == "ADDED"
        guests.away = True
        await asyncio.sleep(0.2)
        status, refused = await api.call("GET", MACHINES)
        assert (status, refused["message"]) == (503, "libvirt is not reachable.")
        guests.away = False
        assert (await anext(watching))["type"] == "MODIFIED"
    await watching.aclose()


async def test_nobody_writes_them_and_those_may_read_who_may_read_machines(api: Api, guests: Guests) -> None:
    guests.run("web-1")
    for method, path in (("POST", MACHINES), ("PUT", f"{MACHINES}/web-1"), ("DELETE", f"{MACHINES}/web-1")):
        assert (await api.call(method, path, {"metadata": {"name": "web-1"}}))[0] == 405
    viewer = bearer(await token(api, "look"))
    assert (await api.call("GET", f"{MACHINES}/web-1", headers=viewer))[0] == 200


async def test_metrics_have_them(api: Api, guests: Guests) -> None:
    guests.run("web-1")
    guests.run("hidden", namespace=SYSTEM_NAMESPACE)
    await api.call("GET", MACHINES)
    async with api.client.get("http://h/metrics") as response:
        text = await response.text()
    assert "hidden" not in text
    assert 'hyperd_machine_network_received_bytes_total{namespace="shop",name="web-1"} 9' in text


async def test_many_who_wake_up_for_a_sample_have_it_made_into_objects_once(guests: Guests, folder: Path) -> None:
    made = 0

    def make(_: sampler.Sample) -> Iterator[dict[str, Any]]:
        nonlocal made
        made += 1
        for number in range(2000):  # so many that others have their turn meanwhile
            yield {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": f"n{number}", "uid": "1"}}

    store = StatsStore(Sampler(guests, storage=folder), NODE_STATS, make)
    await asyncio.gather(*(store.list(NODE_STATS) for _ in range(10)))
    assert made == 1
