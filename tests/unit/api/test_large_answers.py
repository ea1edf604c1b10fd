"""Large answers hold nobody up either, in whatever form they are asked for."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request

from hyperd.api.endpoints import answers
from hyperd.api.wire import compression
from hyperd.api.wire.query import EMPTY
from hyperd.api.wire.routes import Router
from hyperd.resources.all import CONFIG_MAP, KINDS, VIRTUAL_DISK
from hyperd.slices import STEP_BYTES
from hyperd.store.embedded.derived import derived_of
from hyperd.store.interface import Store, User
from hyperd.store.versions import versions_of
from tests.unit.api.conftest import Api, config_map
from tests.unit.api.test_hostile_bodies import MOST_CPU, timed_callbacks

PATH = "/api/v1/namespaces/default/configmaps"
FORMS = {
    "json": ("", ""),
    "pretty": ("?pretty=1", ""),
    "yaml": ("", "application/yaml"),
    "protobuf": ("", "application/vnd.kubernetes.protobuf"),
    "table": ("", "application/json;as=Table;v=v1;g=meta.k8s.io"),
    "partial": ("", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
}


async def test_a_large_answer_holds_nobody_up(api: Api) -> None:
    for number in range(4):
        data = {f"k{key}": "v" for key in range(8_000)}
        assert (await api.call("POST", PATH, config_map(f"large-{number}", **data)))[0] == 201
    faults: list[str] = []
    for form, (query, accept) in FORMS.items():
        for _ in range(2):
            # What a busy host does to CPU time it does not do twice.
            with timed_callbacks() as callbacks:
                headers = {"Accept": accept} if accept else {}
                async with api.client.get(f"http://h{PATH}{query}", headers=headers) as response:
                    assert response.status == 200, await response.text()
                    assert len(await response.read()) > 1000
            if callbacks.worst <= MOST_CPU:
                break
        else:
            faults.append(f"{form}: {callbacks.worst:.3f} s by {callbacks.what}")
    assert not faults, faults


@pytest.mark.parametrize("query", ["", "?pretty=1"])
async def test_a_small_answer_needs_no_process(api: Api, query: str) -> None:
    assert (await api.call("POST", PATH, config_map("small", a="b")))[0] == 201
    status, answer = await api.call("GET", f"{PATH}/small{query}")
    assert (status, answer["data"]) == (200, {"a": "b"})


async def test_a_compressed_list_is_never_whole_on_the_loop(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        await api.store.create(CONFIG_MAP, "default", config_map(f"large-{number:02}", pad="x" * 50_000))
    seen = list[int]()
    compress = compression.compress

    def counted(pieces: Iterable[bytes]) -> bytes:
        kept = list(pieces)
        seen.extend(map(len, kept))
        return compress(kept)

    monkeypatch.setattr(compression, "compress", counted)
    monkeypatch.setattr(compression, "wanted", lambda request: True)
    _, plain = await api.call("GET", f"{PATH}?limit=1")
    async with api.client.get(f"http://h{PATH}", auto_decompress=False) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        listed = orjson.loads(gzip.decompress(await response.read()))
    assert [one["metadata"]["name"] for one in listed["items"]].count("large-07") == 1
    assert plain["items"][0] == listed["items"][0]
    assert len(seen) > 4
    assert max(seen) < sum(seen) / 4, "all of it was put together in one step"


async def test_a_list_of_nothing_is_as_long_as_it_says() -> None:
    ends = (b'{"columns":"' + b"x" * (100 << 10) + b'","items":[', b"]}")
    target = Router(KINDS).resolve(PATH)
    call = answers.Call(make_mocked_request("GET", PATH), "id", User("ann"), target, EMPTY, warnings=[])
    response = await answers._joined(call, ends, [])
    assert response.content_length == len(b"".join(ends))


@pytest.mark.parametrize("kind", ["virtualmachineclasses", "persistentvolumeclaims"])
async def test_a_list_that_is_made_when_it_is_read_is_made_in_steps(api: Api, kind: str) -> None:
    stores: dict[str, tuple[Any, Store]] = {
        one.plural: (one, store)
        for one, store in (*versions_of(api.store, KINDS).items(), *derived_of(api.store, KINDS).items())
    }
    pad = {"metadata": {"annotations": {"pad": "x" * 20_000}}}
    for number in range(20):
        if kind == "virtualmachineclasses":
            body: dict[str, Any] = {"spec": {"cpu": {"type": "Host"}}}
            source = next(one for one in KINDS if one.plural == kind)
        else:
            body, source = {"spec": {"persistentVolumeClaim": {"size": "1Mi"}}}, VIRTUAL_DISK
        body["metadata"] = {"name": f"one-{number}", **pad["metadata"]}
        await api.store.create(source, "default" if source.namespaced else "", body)
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    steps = 0
    shown, store = stores[kind]
    await store.list(shown)
    counting.cancel()
    assert steps >= 20 * 20_000 // STEP_BYTES // 2
