"""Many clients ask for the same thing at the same moment over the wire."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.unit.api.conftest import Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


async def test_of_fifty_who_post_one_name_one_is_told_created(api: Api) -> None:
    version = await api.version()
    bodies = [config_map("same", client=str(number)) for number in range(50)]
    results = await asyncio.gather(*(api.call("POST", MAPS, body) for body in bodies))
    assert Counter(status for status, _ in results) == {201: 1, 409: 49}
    [won] = [answer for status, answer in results if status == 201]
    assert {answer["reason"] for status, answer in results if status == 409} == {"AlreadyExists"}
    assert (await api.call("GET", f"{MAPS}/same"))[1] == won
    # The losers cost no version: whoever watches hears of one object.
    assert int(won["metadata"]["resourceVersion"]) == int(await api.version()) == int(version) + 1


async def test_two_shells_that_apply_the_same_manifest_both_succeed_or_are_told_to_try_again(api: Api) -> None:
    await api.call("POST", MAPS, config_map("c", step="0"))
    patch = {"data": {"step": "1"}}
    headers = {"Content-Type": "application/merge-patch+json"}

    async def apply() -> int:
        async with api.client.patch(f"http://h{MAPS}/c", json=patch, headers=headers) as response:
            return response.status

    before = int(await api.version())
    assert await asyncio.gather(*(apply() for _ in range(10))) == [200] * 10
    # The first changed it; the others found nothing to change.
    assert int(await api.version()) == before + 1


async def test_a_patch_that_names_a_stale_version_is_409(api: Api) -> None:
    _, made = await api.call("POST", MAPS, config_map("c", step="0"))
    stale = made["metadata"]["resourceVersion"]
    headers = {"Content-Type": "application/merge-patch+json"}
    patch = {"metadata": {"resourceVersion": stale}, "data": {"step": "1"}}
    for expected in (200, 409, 409):
        async with api.client.patch(f"http://h{MAPS}/c", json=patch, headers=headers) as response:
            answer = await response.json()
            assert (response.status, answer.get("reason", "")) == (expected, "Conflict" if expected == 409 else "")
