"""Kinds that are served and not stored as such: claims and volumes of disks, Events in their other group."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hyperd.api.wire import protobuf
from hyperd.resources.values.names import GROUP
from hyperd.roles import Role
from tests.unit.api.conftest import Api
from tests.unit.api.test_identity import bearer, token

DISKS = f"/apis/{GROUP}/v1alpha2/namespaces/default/virtualdisks"
IMAGES = f"/apis/{GROUP}/v1alpha2/namespaces/default/virtualimages"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CORE = "/api/v1/namespaces/default/events"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
MERGE = {"Content-Type": "application/merge-patch+json"}


async def disk(api: Api, name: str, **labels: str) -> str:
    """A disk that is Ready; the name of its claim."""
    body = {"metadata": {"name": name, "labels": labels}, "spec": {"persistentVolumeClaim": {"size": "2Gi"}}}
    status, made = await api.call("POST", DISKS, body)
    assert status == 201, made
    claim = f"d8v-vd-{made['metadata']['uid']}"
    await show(
        api,
        name,
        phase="Ready",
        capacity="2Gi",
        storageClassName="local",
        target={"persistentVolumeClaimName": claim},
    )
    return claim


async def show(api: Api, name: str, **status: Any) -> None:
    code, answer = await api.call("PATCH", f"{DISKS}/{name}/status", {"status": status}, headers=MERGE)
    assert code == 200, answer


async def watched(api: Api, path: str) -> list[dict[str, Any]]:
    """Every event of a watch of a second."""
    url = f"http://h{path}{'&' if '?' in path else '?'}watch=true&timeoutSeconds=1"
    async with api.client.get(url) as response:
        return [json.loads(line) for line in (await response.text()).splitlines()]


async def test_the_claim_that_a_disk_names_is_there_and_its_volume_too(api: Api) -> None:
    await api.call(
        "POST", DISKS, {"metadata": {"name": "new"}, "spec": {"persistentVolumeClaim": {"size": "1Gi"}}}
    )
    name = await disk(api, "a", tier="db")
    status, claim = await api.call("GET", f"{CLAIMS}/{name}")
    assert status == 200
    assert (claim["kind"], claim["status"]["phase"], claim["spec"]["storageClassName"]) == (
        "PersistentVolumeClaim",
        "Bound",
        "local",
    )
    assert claim["status"]["capacity"] == claim["spec"]["resources"]["requests"] == {"storage": "2Gi"}
    _, volume = await api.call("GET", f"{VOLUMES}/{claim['spec']['volumeName']}")
    assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
    assert volume["spec"]["claimRef"]["name"] == name
    _, listed = await api.call("GET", CLAIMS)
    assert [one["metadata"]["name"] for one in listed["items"]] == [name], "a disk without a volume has no claim"
    for query, found in (
        (f"fieldSelector=metadata.name%3D{name}", 1),
        ("fieldSelector=metadata.name%3Da", 0),
        ("labelSelector=tier%3Ddb", 1),
        ("labelSelector=tier%3Dweb", 0),
    ):
        _, listed = await api.call("GET", f"{CLAIMS}?{query}")
        assert len(listed["items"]) == found, query
    assert (await api.call("GET", f"{CLAIMS}?fieldSelector=spec.x%3Da"))[0] == 400
    _, table = await api.call("GET", CLAIMS, headers=TABLE)
    assert table["rows"][0]["cells"][:6] == [name, "Bound", claim["spec"]["volumeName"], "2Gi", "RWO", "local"]
    _, table = await api.call("GET", VOLUMES, headers=TABLE)
    assert table["rows"][0]["cells"][5] == f"default/{name}"


async def test_a_claim_is_there_before_its_volume_and_asks_for_more_before_it_grows(api: Api) -> None:
    name = await disk(api, "a")
    target = {"persistentVolumeClaimName": name, "size": "3Gi"}
    await show(api, "a", phase="Resizing", target=target)
    _, claim = await api.call("GET", f"{CLAIMS}/{name}")
    assert (claim["status"]["phase"], claim["status"]["capacity"]) == ("Bound", {"storage": "2Gi"})
    assert claim["spec"]["resources"]["requests"] == {"storage": "3Gi"}
    await show(api, "a", phase="WaitForFirstConsumer", capacity=None)
    _, claim = await api.call("GET", f"{CLAIMS}/{name}")
    assert (claim["status"], "volumeName" in claim["spec"]) == ({"phase": "Pending"}, False)
    assert (await api.call("GET", VOLUMES))[1]["items"] == []
    _, table = await api.call("GET", CLAIMS, headers=TABLE)
    assert table["rows"][0]["cells"][:2] == [name, "Pending"]


async def test_nobody_writes_them_and_viewers_read_them(api: Api) -> None:
    name = await disk(api, "a")
    for method, path in (("POST", CLAIMS), ("PUT", f"{CLAIMS}/{name}"), ("DELETE", f"{CLAIMS}/{name}")):
        assert (await api.call(method, path, {"metadata": {"name": name}}))[0] == 405
    headers = bearer(await token(api, "v", Role.VIEWER))
    for path in (CLAIMS, f"{CLAIMS}/{name}", VOLUMES, EVENTS, "/apis/events.k8s.io/v1/events"):
        assert (await api.call("GET", path, headers=headers))[0] == 200, path
    within = bearer(await token(api, "w", Role.VIEWER, "default"))
    assert (await api.call("GET", CLAIMS, headers=within))[0] == 200
    for path in (VOLUMES, "/api/v1/persistentvolumeclaims", "/apis/events.k8s.io/v1/events"):
        assert (await api.call("GET", path, headers=within))[0] == 403, path
    editor = bearer(await token(api, "e", Role.EDITOR))
    assert (await api.call("POST", EVENTS, {"metadata": {"name": "x"}}, headers=editor))[0] == 403


async def test_a_watch_tells_of_claims_as_disks_come_and_go(api: Api) -> None:
    name = await disk(api, "a", tier="db")
    _, listed = await api.call("GET", CLAIMS)
    since = listed["metadata"]["resourceVersion"]
    await show(api, "a", capacity="3Gi")
    other = await disk(api, "b")
    await api.call("PATCH", f"{DISKS}/b", {"metadata": {"finalizers": None}}, headers=MERGE)
    await api.call("DELETE", f"{DISKS}/b")
    events = await watched(api, f"{CLAIMS}?resourceVersion={since}")
    seen = [(event["type"], event["object"]["metadata"]["name"]) for event in events]
    assert seen[0] == ("ADDED", name)
    assert ("ADDED", other) in seen
    assert seen[-1] == ("DELETED", other)
    assert [
        event["object"]["metadata"]["name"] for event in await watched(api, f"{CLAIMS}?labelSelector=tier")
    ] == [name]
    initial = await watched(
        api, f"{CLAIMS}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    )
    assert [event["type"] for event in initial][:2] == ["ADDED", "BOOKMARK"]
    assert initial[1]["object"]["kind"] == "PersistentVolumeClaim"


async def test_the_claim_of_a_disk_that_is_moved_is_another_one(api: Api) -> None:
    first = await disk(api, "a")
    _, before = await api.call("GET", f"{CLAIMS}/{first}")
    watching = asyncio.create_task(watched(api, CLAIMS))
    await asyncio.sleep(0.3)
    second = f"{first}-12345"
    await show(api, "a", storageClassName="fast", target={"persistentVolumeClaimName": second})
    events = await watching
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("ADDED", first),
        ("DELETED", first),
        ("ADDED", second),
    ]
    _, listed = await api.call("GET", CLAIMS)
    (after,) = listed["items"]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"]["volumeName"] != before["spec"]["volumeName"]


async def image(api: Api, name: str) -> str:
    """An image that is on a volume; the name of its claim."""
    source = {"type": "HTTP", "http": {"url": "http://images.test/a.qcow2"}}
    body = {"metadata": {"name": name}, "spec": {"storage": "PersistentVolumeClaim", "dataSource": source}}
    status, made = await api.call("POST", IMAGES, body)
    assert status == 201, made
    claim = f"d8v-vi-{made['metadata']['uid']}"
    told = {"phase": "Ready", "storageClassName": "local", "size": {"unpackedBytes": str(3 << 20)}}
    told["target"] = {"persistentVolumeClaimName": claim}
    code, answer = await api.call("PATCH", f"{IMAGES}/{name}/status", {"status": told}, headers=MERGE)
    assert code == 200, answer
    return claim


async def test_an_image_on_a_volume_has_its_claim_and_volume_beside_those_of_disks(api: Api) -> None:
    first, second = await disk(api, "a"), await image(api, "b")
    _, claim = await api.call("GET", f"{CLAIMS}/{second}")
    assert (claim["status"]["phase"], claim["status"]["capacity"]) == ("Bound", {"storage": "3Mi"})
    (owner,) = claim["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("VirtualImage", "b")
    _, table = await api.call("GET", IMAGES, headers={"Accept": f"{TABLE['Accept']},application/json"})
    columns = [one["name"] for one in table["columnDefinitions"]]
    assert table["rows"][0]["cells"][columns.index("TargetPVC")] == second
    _, volumes = await api.call("GET", VOLUMES)
    assert {one["spec"]["claimRef"]["name"] for one in volumes["items"]} == {first, second}
    _, page = await api.call("GET", f"{CLAIMS}?limit=1")
    _, rest = await api.call("GET", f"{CLAIMS}?limit=1&continue={page['metadata']['continue']}")
    assert sorted(one["metadata"]["name"] for one in (*page["items"], *rest["items"])) == sorted([first, second])


@pytest.mark.parametrize("ring", [512, 0], ids=["from memory", "from the file"])
async def test_a_watch_tells_of_both_in_the_order_of_the_writes(
    api: Api, monkeypatch: pytest.MonkeyPatch, ring: int
) -> None:
    monkeypatch.setattr("hyperd.store.embedded.watching.RING_EVENTS", ring)
    monkeypatch.setattr("hyperd.store.embedded.watching.REPLAY_CHUNK", 3)
    _, listed = await api.call("GET", CLAIMS)
    since = listed["metadata"]["resourceVersion"]
    names = [await (disk if number % 3 else image)(api, f"x{number}") for number in range(7)]
    events = await watched(api, f"{CLAIMS}?resourceVersion={since}")
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert [event["object"]["metadata"]["name"] for event in events if event["type"] == "ADDED"] == names
    assert versions == sorted(versions)


async def test_a_watch_tells_of_a_claim_that_is_given_back(api: Api) -> None:
    name = await disk(api, "a")
    _, listed = await api.call("GET", CLAIMS)
    await show(api, "a", phase="Failed", capacity=None, target=None)
    await show(api, "a", phase="Pending")
    events = await watched(api, f"{CLAIMS}?resourceVersion={listed['metadata']['resourceVersion']}")
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [("DELETED", name)]


def event(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "regarding": {"kind": "VirtualMachine", "name": "web", "namespace": "default"},
        "reason": "Started",
        "note": "It runs.",
        "type": "Normal",
        "action": "Start",
        "eventTime": "2026-01-02T03:04:05.000006Z",
        "reportingController": "example.org/x",
        "reportingInstance": "x-1",
        "deprecatedCount": 3,
    }


async def test_events_are_the_same_objects_in_both_groups(api: Api) -> None:
    status, made = await api.call("POST", EVENTS, event("a"))
    assert status == 201, made
    assert made["apiVersion"] == "events.k8s.io/v1"
    assert {name: made[name] for name in event("a") if name != "metadata"} == {
        name: value for name, value in event("a").items() if name != "metadata"
    }
    _, core = await api.call("GET", f"{CORE}/a")
    assert (core["apiVersion"], core["message"], core["involvedObject"]["name"], core["count"]) == (
        "v1",
        "It runs.",
        "web",
        3,
    )
    assert core["metadata"]["uid"] == made["metadata"]["uid"]
    assert core["reportingComponent"] == "example.org/x"
    await api.call("PATCH", f"{CORE}/a", {"count": 4}, headers=MERGE)
    for kind in ("merge-patch", "strategic-merge-patch"):
        typed = {"Content-Type": f"application/{kind}+json"}
        status, changed = await api.call("PATCH", f"{EVENTS}/a", {"note": f"By {kind}."}, headers=typed)
        assert (status, changed["note"], changed["deprecatedCount"]) == (200, f"By {kind}.", 4)
    changed["series"] = {"count": 5, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}
    status, changed = await api.call("PUT", f"{EVENTS}/a", changed)
    assert (status, changed["series"]["count"]) == (200, 5)
    assert (await api.call("GET", f"{CORE}/a"))[1]["series"]["count"] == 5


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("regarding.name=web", 1),
        ("regarding.name=other", 0),
        ("regarding.kind=VirtualMachine,reason=Started", 1),
        ("reportingController=example.org/x", 1),
        ("type!=Normal", 0),
        ("metadata.name=a", 1),
    ],
)
async def test_events_are_selected_by_the_names_of_their_group(api: Api, selector: str, found: int) -> None:
    await api.call("POST", EVENTS, event("a"))
    _, listed = await api.call("GET", f"{EVENTS}?fieldSelector={selector.replace('=', '%3D')}")
    assert len(listed["items"]) == found
    assert listed["kind"] == "EventList"
    assert [one["object"]["kind"] for one in await watched(api, f"{EVENTS}?fieldSelector={selector}")] == (
        ["Event"] * found
    )
    assert (await api.call("GET", f"{EVENTS}?fieldSelector=involvedObject.name%3Dweb"))[0] == 400


async def test_a_table_of_events_is_the_same_in_both_groups(api: Api) -> None:
    await api.call("POST", EVENTS, event("a"))
    _, ours = await api.call("GET", EVENTS, headers=TABLE)
    _, core = await api.call("GET", CORE, headers=TABLE)
    assert [one["name"] for one in ours["columnDefinitions"]] == [one["name"] for one in core["columnDefinitions"]]
    assert ours["rows"][0]["cells"] == core["rows"][0]["cells"]
    assert "virtualmachine/web" in ours["rows"][0]["cells"]


@pytest.mark.parametrize(
    "obj",
    [
        {"apiVersion": "events.k8s.io/v1", "kind": "Event", **event("a")},
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q"},
            "spec": {"hard": {"pods": "4", "requests.cpu": "500m"}},
        },
    ],
    ids=lambda obj: str(obj["kind"]),
)
def test_they_pass_through_protobuf(obj: dict[str, Any]) -> None:
    assert protobuf.decode(protobuf.encode(obj)) == obj
