"""Large answers hold nobody up either, in whatever form they are asked for."""

from __future__ import annotations

import pytest

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
