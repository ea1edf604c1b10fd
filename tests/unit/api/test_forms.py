"""The forms of an answer: compressed, indented, known already, without a body; and what is refused in time."""

from __future__ import annotations

import base64
import gzip
import ssl
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
import yaml

from tests.unit.api.conftest import GROUP, Api, config_map, machine

MAPS = "/api/v1/namespaces/default/configmaps"
VMS = f"{GROUP}/namespaces/default/virtualmachines"


@pytest.fixture
async def remote(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the TLS listener that leaves bodies as they come."""
    config = yaml.safe_load(api.settings.kubeconfig_path.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    pair = api.settings.state_dir / "pair.pem"
    names = ("client-certificate-data", "client-key-data")
    pair.write_bytes(b"".join(base64.b64decode(user[name]) for name in names))
    context.load_cert_chain(pair)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(cluster["server"], connector=connector, auto_decompress=False) as session:
        yield session


async def _fill(api: Api, count: int, size: int) -> None:
    for index in range(count):
        assert (await api.call("POST", MAPS, config_map(f"m{index}", k="v" * size)))[0] == 201


async def test_large_lists_are_compressed_for_those_who_take_it_and_are_not_on_the_socket(
    api: Api, remote: aiohttp.ClientSession
) -> None:
    await _fill(api, 4, 40_000)
    async with remote.get(MAPS, headers={"Accept-Encoding": "br, gzip"}) as response:
        body = await response.read()
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Vary"] == "Accept-Encoding"
        assert len(body) < 10_000
        assert len(orjson.loads(gzip.decompress(body))["items"]) == 4
    for headers in ({"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip;q=0"}):
        async with remote.get(MAPS, headers=headers) as response:
            assert "Content-Encoding" not in response.headers
            assert len(orjson.loads(await response.read())["items"]) == 4
    async with remote.get(f"{MAPS}/m0", headers={"Accept-Encoding": "gzip"}) as response:
        assert "Content-Encoding" not in response.headers
    async with api.client.get(f"http://h{MAPS}", headers={"Accept-Encoding": "gzip"}) as response:
        assert "Content-Encoding" not in response.headers


async def test_an_answer_is_indented_on_demand(api: Api) -> None:
    await _fill(api, 1, 1)
    for path in (f"{MAPS}/m0", MAPS):
        async with api.client.get(f"http://h{path}?pretty=true") as response:
            text = await response.text()
        assert text.startswith('{\n  "')
        async with api.client.get(f"http://h{path}?pretty=nonsense") as response:
            assert orjson.loads(text) == await response.json(content_type=None)


async def test_head_is_get_without_the_body(api: Api) -> None:
    await _fill(api, 1, 1)
    for path in (f"{MAPS}/m0", MAPS, f"{MAPS}?watch=1", "/version", "/apis", "/openapi/v3"):
        async with api.client.head(f"http://h{path}") as response:
            assert response.status == 200
            assert int(response.headers["Content-Length"]) > 0
            assert await response.read() == b""
    async with api.client.head(f"http://h{MAPS}/absent") as response:
        assert response.status == 404


async def test_documents_have_etags_and_are_not_sent_again(api: Api) -> None:
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    _, index = await api.call("GET", "/openapi/v3")
    for path, accept in (
        ("/apis", aggregated),
        ("/apis", "application/json"),
        ("/api/v1", "application/yaml"),
        (index["paths"]["api/v1"]["serverRelativeURL"], "*/*"),
    ):
        async with api.client.get(f"http://h{path}", headers={"Accept": accept}) as response:
            tag, first = response.headers["ETag"], await response.read()
        known = {"Accept": accept, "If-None-Match": f'"other", {tag}'}
        async with api.client.get(f"http://h{path}", headers=known) as response:
            assert (response.status, response.headers["ETag"], await response.read()) == (304, tag, b"")
        async with api.client.get(f"http://h{path}", headers=known | {"If-None-Match": '"other"'}) as response:
            assert (response.status, await response.read()) == (200, first)


async def test_options_and_wrong_methods_name_the_right_ones(api: Api) -> None:
    for path, allowed in (
        (MAPS, "DELETE, GET, HEAD, OPTIONS, POST"),
        ("/api/v1/namespaces", "GET, HEAD, OPTIONS, POST"),
        ("/apis", "GET, HEAD, OPTIONS"),
        ("/version", "GET, HEAD, OPTIONS"),
    ):
        async with api.client.options(f"http://h{path}") as response:
            assert (response.status, response.headers["Allow"]) == (200, allowed)
        async with api.client.put(f"http://h{path}", data=b"{}") as response:
            assert (response.status, response.headers["Allow"]) == (405, allowed)
    assert (await api.call("POST", "/nothing", {}))[0] == 404


@pytest.mark.parametrize("accept", ["text/html", "application/json;as=Foo;v=v1;g=meta.k8s.io"])
async def test_a_write_whose_answer_cannot_be_sent_is_not_made(api: Api, accept: str) -> None:
    await _fill(api, 1, 1)
    before = await api.version()
    merge = {"Content-Type": "application/merge-patch+json"}
    for method, path, body, more in (
        ("POST", MAPS, config_map("new"), {}),
        ("PUT", f"{MAPS}/m0", config_map("m0"), {}),
        ("PATCH", f"{MAPS}/m0", {"data": {"a": "b"}}, merge),
        ("DELETE", f"{MAPS}/m0", None, {}),
        ("DELETE", MAPS, None, {}),
    ):
        status, answer = await api.call(method, path, body, headers={"Accept": accept} | more)
        assert (status, answer["reason"]) == (406, "NotAcceptable")
    assert await api.version() == before


async def test_a_field_is_selected_as_core_kinds_have_it(api: Api) -> None:
    await api.call("POST", "/api/v1/nodes", {"metadata": {"name": "a"}})
    await api.call("POST", "/api/v1/nodes", {"metadata": {"name": "b"}, "spec": {"unschedulable": True}})
    event = {"metadata": {"name": "e"}, "involvedObject": {}, "source": {"component": "kubelet", "host": "h"}}
    assert (await api.call("POST", "/api/v1/namespaces/default/events", event))[0] == 201
    for path, wanted in (
        ("nodes?fieldSelector=spec.unschedulable%3Dfalse,metadata.name%3Da", ["a"]),
        ("nodes?fieldSelector=spec.unschedulable%3Dtrue", ["b"]),
        ("events?fieldSelector=source%3Dkubelet", ["e"]),
    ):
        _, listed = await api.call("GET", f"/api/v1/{path}")
        assert [one["metadata"]["name"] for one in listed["items"]] == wanted


async def test_streamed_lists_end_with_a_bookmark_and_wait_for_no_version_of_the_future(api: Api) -> None:
    await api.call("POST", VMS, machine("web"))
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.client.get(f"http://h{VMS}?{query}&timeoutSeconds=1") as response:
        events = [orjson.loads(line) async for line in response.content]
    assert [event["type"] for event in events[:2]] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    future = str(int(await api.version()) + 1000)
    async with api.client.get(f"http://h{VMS}?{query}&resourceVersion={future}") as response:
        error = orjson.loads(await response.content.readline())
    assert (error["type"], error["object"]["code"]) == ("ERROR", 504)
    assert error["object"]["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
