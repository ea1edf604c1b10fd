"""The store's disk is full or broken: reads go on, writes are refused in time, and it heals by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.api.conftest import Api, config_map, serving
from tests.unit.store.disk import Fault, disk

MAPS = "/api/v1/namespaces/default/configmaps"


async def post(api: Api, name: str) -> tuple[int, str, str]:
    """Status, Retry-After and message."""
    async with api.client.post(f"http://h{MAPS}", json=config_map(name)) as response:
        answer = await response.json()
        return response.status, response.headers.get("Retry-After", ""), answer.get("message", "")


@pytest.mark.parametrize(
    ("fault", "code", "sentence"),
    [
        ("full", 503, "is full; nothing was changed. Free some space and try again."),
        ("error", 504, "cannot be written: input/output error. The change is not visible"),
    ],
)
async def test_reads_go_on_and_writes_are_told_when_to_come_again(
    folder: Path, fault: Fault, code: int, sentence: str
) -> None:
    with disk(f"api-{fault}") as layer:
        async with serving(folder, vfs=layer.name) as api:
            assert (await post(api, "before"))[0] == 201
            _, listed = await api.call("GET", MAPS)
            layer.fault, layer.fail_from = fault, len(layer.log)
            async with asyncio.timeout(20):
                results = await asyncio.gather(*(post(api, f"c{number}") for number in range(30)))
                for status, after, message in results:
                    assert (status, after) == (code, "5")
                    assert sentence in message
                assert (await api.call("DELETE", f"{MAPS}/before"))[0] == code
                assert await api.call("GET", MAPS) == (200, listed)
                async with api.client.get("http://h/readyz") as response:
                    assert response.status == 200
                version = listed["metadata"]["resourceVersion"]
                watch = f"{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=30"
                async with api.client.get(f"http://h{watch}") as response:
                    layer.heal()
                    assert (await post(api, "healed"))[0] == 201
                    assert b'"name":"healed"' in await response.content.readline()
            _, listed = await api.call("GET", MAPS)
            assert [item["metadata"]["name"] for item in listed["items"]] == ["before", "healed"]
