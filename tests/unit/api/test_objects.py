"""Objects over HTTP: the grammar, watches, and bad input that writes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from hyperd.api.endpoints import answers
from hyperd.api.wire import protobuf, routes
from hyperd.resources.all import KINDS
from tests.unit.api.conftest import GROUP, Api, config_map, machine

MAPS = "/api/v1/namespaces/default/configmaps"
VMS = f"{GROUP}/namespaces/default/virtualmachines"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


class Following:
    """The events of an open watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> dict[str, Any]:
        line = await asyncio.wait_for(self._response.content.readline(), 10)
        event: dict[str, Any] = orjson.loads(line)
        return event


async def test_every_operation_of_the_grammar_is_served(api: Api) -> None:
    for kind in KINDS:
        for operation in routes.operations(kind):
            path = operation.path.replace("{namespace}", "default").replace("{name}", "no-such")
            headers = {"Content-Type": "application/merge-patch+json"} if operation.method == "PATCH" else {}
            body = b"" if operation.method in ("GET", "DELETE") else b"{}"
            query = "?dryRun=All" if operation.method != "GET" else ""
            status, answer = await api.call(operation.method, path + query, data=body, headers=headers)
            assert status != 405, operation
            assert status < 500, (operation, answer)
            assert "could not find the requested resource" not in str(answer.get("message")), operation


async def test_the_openapi_documents_hold_every_operation_and_schema(api: Api) -> None:
    _, index = await api.call("GET", "/openapi/v3")
    for kind in KINDS:
        url = index["paths"][routes.prefix(kind).strip("/")]["serverRelativeURL"]
        status, document = await api.call("GET", url)
        assert status == 200
        for operation in routes.operations(kind):
            entry = document["paths"][operation.path][operation.method.lower()]
            assert entry["x-kubernetes-group-version-kind"]["kind"] == operation.shape.kind
            if operation.verb in ("create", "update", "patch"):
                names = {parameter["name"] for parameter in entry["parameters"]}
                assert {"fieldValidation", "dryRun"} <= names
        kinds = [
            gvk["kind"]
            for schema in document["components"]["schemas"].values()
            for gvk in schema.get("x-kubernetes-group-version-kind", ())
        ]
        assert kind.kind in kinds
        text = orjson.dumps(document).decode()
        for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
            assert reference in document["components"]["schemas"]


async def test_both_forms_of_discovery_tell_the_same(api: Api) -> None:
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    for root in ("/api", "/apis"):
        async with api.client.get(f"http://h{root}", headers=accept) as response:
            assert "as=APIGroupDiscoveryList" in response.headers["Content-Type"]
            aggregated = await response.json(content_type=None)
        for group in aggregated["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                path = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                _, legacy = await api.call("GET", path)
                wanted = {entry["name"] for entry in legacy["resources"]}
                have = {one["resource"] for one in version["resources"] if one["responseKind"]["kind"]}
                for one in version["resources"]:
                    have |= {f"{one['resource']}/{sub['subresource']}" for sub in one.get("subresources", ())}
                assert have == wanted


async def test_an_object_is_made_read_replaced_patched_and_deleted(api: Api) -> None:
    status, made = await api.call("POST", MAPS, config_map("a", k="1"))
    assert status == 201
    made["data"]["k"] = "2"
    status, replaced = await api.call("PUT", f"{MAPS}/a", made)
    assert (status, replaced["data"]) == (200, {"k": "2"})
    patch = {"headers": {"Content-Type": "application/merge-patch+json"}, "data": b'{"data":{"k":null,"l":"3"}}'}
    status, patched = await api.call("PATCH", f"{MAPS}/a", **patch)
    assert (status, patched["data"]) == (200, {"l": "3"})
    status, deleted = await api.call("DELETE", f"{MAPS}/a")
    assert (status, deleted["status"]) == (200, "Success")
    assert deleted["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}


async def test_generate_name_makes_names(api: Api) -> None:
    body = {"metadata": {"generateName": "x-"}}
    names = {(await api.call("POST", MAPS, body))[1]["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3


async def test_kind_and_version_may_be_left_out_and_yaml_is_accepted(api: Api) -> None:
    headers = {"Content-Type": "application/yaml"}
    status, made = await api.call("POST", MAPS, data="metadata: {name: yml}\ndata: {k: v}\n", headers=headers)
    assert (status, made["kind"], made["apiVersion"]) == (201, "ConfigMap", "v1")
    async with api.client.get(f"http://h{MAPS}/yml", headers={"Accept": "application/yaml"}) as response:
        assert "kind: ConfigMap" in await response.text()


async def test_protobuf_bodies_are_read_and_written_where_nothing_else_is_accepted(api: Api) -> None:
    secret = {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s"},
        "data": {"k": "AA=="},
        "type": "Opaque",
    }
    headers = {"Content-Type": protobuf.MEDIA_TYPE, "Accept": protobuf.MEDIA_TYPE}
    path = "http://h/api/v1/namespaces/default/secrets"
    async with api.client.post(path, data=protobuf.encode(secret), headers=headers) as response:
        assert response.status == 201
        assert protobuf.decode(await response.read())["data"] == {"k": "AA=="}
    status, body = await api.call(
        "POST", VMS, data=protobuf.encode(secret), headers={"Content-Type": protobuf.MEDIA_TYPE}
    )
    assert (status, body["reason"]) == (415, "UnsupportedMediaType")
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}}
    headers["Accept"] = "application/json"
    status, _ = await api.call(
        "DELETE", "/api/v1/namespaces/default/secrets/s", data=protobuf.encode(options), headers=headers
    )
    assert status == 409


async def test_lists_come_in_pages_and_by_selector(api: Api) -> None:
    for index in range(5):
        await api.call("POST", MAPS, {"metadata": {"name": f"m{index}", "labels": {"odd": str(index % 2)}}})
    _, page = await api.call("GET", f"{MAPS}?limit=2")
    assert page["metadata"]["remainingItemCount"] == 3
    names = [item["metadata"]["name"] for item in page["items"]]
    while token := page["metadata"].get("continue"):
        _, page = await api.call("GET", f"{MAPS}?limit=2&continue={token}")
        names += [item["metadata"]["name"] for item in page["items"]]
    assert names == ["m0", "m1", "m2", "m3", "m4"]
    _, odd = await api.call("GET", f"{MAPS}?labelSelector=odd%3D1")
    assert len(odd["items"]) == 2
    assert odd["kind"] == "ConfigMapList"


async def test_a_table_and_metadata_alone_are_served(api: Api) -> None:
    await api.call("POST", VMS, machine("web"))
    _, table = await api.call("GET", VMS, headers=TABLE)
    assert (table["kind"], table["rows"][0]["cells"][0]) == ("Table", "web")
    assert {"name", "type", "format", "description", "priority"} == set(table["columnDefinitions"][0])
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
    _, partial = await api.call("GET", VMS, headers=accept)
    assert set(partial["items"][0]) == {"kind", "apiVersion", "metadata"}
    _, table = await api.call("GET", f"{VMS}?includeObject=Object", headers=TABLE)
    assert table["rows"][0]["object"]["spec"]["memory"]["size"] == "512Mi"


async def test_a_watch_without_a_version_begins_with_what_exists(api: Api) -> None:
    await api.call("POST", MAPS, config_map("a"))
    await api.call("POST", MAPS, config_map("b"))
    async with api.client.get(f"http://h{MAPS}?watch=1&fieldSelector=metadata.name%3Db") as response:
        following = Following(response)
        assert (await following.next())["object"]["metadata"]["name"] == "b"
        await api.call("DELETE", f"{MAPS}/a")
        await api.call("DELETE", f"{MAPS}/b")
        assert (await following.next())["type"] == "DELETED"


async def test_a_watch_resumes_and_ends_after_its_time_with_a_bookmark(api: Api) -> None:
    _, first = await api.call("POST", MAPS, config_map("a"))
    await api.call("POST", MAPS, config_map("b"))
    version = first["metadata"]["resourceVersion"]
    query = f"watch=True&resourceVersion={version}&timeoutSeconds=1&allowWatchBookmarks=true"
    async with api.client.get(f"http://h{MAPS}?{query}") as response:
        events = [orjson.loads(line) async for line in response.content]
    assert [(event["type"], event["object"]["metadata"].get("name")) for event in events] == [
        ("ADDED", "b"),
        ("BOOKMARK", None),
    ]


async def test_initial_events_end_with_a_bookmark_that_says_so(api: Api) -> None:
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    async with api.client.get(f"http://h/api/v1/namespaces?{query}") as response:
        following = Following(response)
        while (event := await following.next())["type"] == "ADDED":
            pass
        assert event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"


async def test_a_watched_table_has_rows(api: Api) -> None:
    await api.call("POST", MAPS, config_map("a"))
    async with api.client.get(f"http://h{MAPS}?watch=1", headers=TABLE) as response:
        event = await Following(response).next()
    assert event["object"]["kind"] == "Table"
    assert event["object"]["rows"][0]["cells"][0] == "a"


async def test_a_watch_from_a_lost_version_gets_an_error_event(api: Api) -> None:
    async with api.client.get(f"http://h{MAPS}?watch=1&resourceVersion=1") as response:
        event = await Following(response).next()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_a_collection_is_deleted_by_selector_and_rehearsed_first(api: Api) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await api.call("POST", MAPS, {"metadata": {"name": name, "labels": {"l": label}}})
    before = await api.version()
    status, rehearsed = await api.call("DELETE", f"{MAPS}?labelSelector=l%3Dx&dryRun=All")
    assert (status, len(rehearsed["items"])) == (200, 2)
    assert await api.version() == before
    await api.call("DELETE", f"{MAPS}?labelSelector=l%3Dx")
    _, left = await api.call("GET", MAPS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["c"]


async def test_a_dry_run_of_any_verb_writes_nothing(api: Api) -> None:
    _, made = await api.call("POST", MAPS, config_map("a"))
    before = await api.version()
    assert (await api.call("POST", f"{MAPS}?dryRun=All", config_map("b")))[0] == 201
    assert (await api.call("PUT", f"{MAPS}/a?dryRun=All", {**made, "data": {"k": "v"}}))[1]["data"] == {"k": "v"}
    assert (await api.call("DELETE", f"{MAPS}/a?dryRun=All"))[0] == 200
    assert (await api.call("DELETE", f"{MAPS}/a", {"dryRun": ["All"]}))[0] == 200
    assert await api.version() == before


async def test_a_reader_that_reads_nothing_is_dropped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SLOW_READER_SECONDS", 0.2)
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path), limit=1024)
    writer.write(f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    for index in range(40):
        await api.call("POST", MAPS, config_map(f"m{index}", big="x" * 50_000))
    for _ in range(200):
        if not api.store.watchers:
            break
        await asyncio.sleep(0.02)
    assert api.store.watchers == 0
    writer.close()
    _, body = await api.call("GET", f"{MAPS}/m1")
    assert body["metadata"]["name"] == "m1"


async def test_a_client_that_does_not_read_a_long_list_is_dropped(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SLOW_READER_SECONDS", 0.2)
    for index in range(20):
        await api.call("POST", MAPS, config_map(f"m{index}", big="x" * 50_000))
    reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path), limit=1024)
    writer.write(f"GET {MAPS} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    await asyncio.sleep(0.5)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asyncio.wait_for(reader.readexactly(900_000), 10)
    writer.close()
    assert (await api.call("GET", MAPS))[0] == 200


async def test_a_write_reaches_its_end_when_the_client_leaves(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, left = asyncio.Event(), asyncio.Event()
    create = api.store.create

    async def slow(*args: Any, **kwargs: Any) -> Any:
        entered.set()
        await left.wait()
        return await create(*args, **kwargs)

    monkeypatch.setattr(api.store, "create", slow)
    posting = asyncio.create_task(api.call("POST", MAPS, config_map("a")))
    await entered.wait()
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    left.set()
    async with api.client.get(f"http://h{MAPS}?watch=1&fieldSelector=metadata.name%3Da") as response:
        assert (await Following(response).next())["object"]["metadata"]["name"] == "a"


@pytest.mark.parametrize("method", ["create", "update", "delete"])
async def test_a_stop_waits_for_writes_whose_client_has_left(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    entered, may_end = asyncio.Event(), asyncio.Event()
    order: list[str] = []
    _, made = await api.call("POST", MAPS, config_map("old"))
    write = getattr(api.store, method)

    async def slow(*args: Any, **kwargs: Any) -> Any:
        entered.set()
        await may_end.wait()
        written = await write(*args, **kwargs)
        order.append("written")
        return written

    async def stop() -> None:
        await api.server.stop()
        order.append("stopped")

    monkeypatch.setattr(api.store, method, slow)
    asked = {
        "create": ("POST", MAPS, config_map("a")),
        "update": ("PUT", f"{MAPS}/old", {**made, "data": {"k": "new"}}),
        "delete": ("DELETE", f"{MAPS}/old", None),
    }[method]
    asking = asyncio.create_task(api.call(*asked))
    await entered.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    stopping = asyncio.create_task(stop())
    ended, _ = await asyncio.wait([stopping], timeout=0.5)
    assert not ended
    may_end.set()
    await asyncio.wait_for(stopping, 20)
    assert order == ["written", "stopped"]
