"""A pool's ``scale`` and ``scaledownwith`` over HTTP, as kubectl and autoscalers use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.api.sessions.scale_down import ScaleDown
from hyperd.api.wire.subresources import SubresourceHandler
from hyperd.resources import pooling
from hyperd.resources.all import VIRTUAL_MACHINE, VIRTUAL_MACHINE_POOL
from hyperd.resources.schema.kind import Object
from tests.unit.api.conftest import GROUP, Api, serving
from tests.unit.resources.samples import example

POOLS = f"{GROUP}/namespaces/default/virtualmachinepools"
SCALE = f"{POOLS}/workers/scale"
SUBRESOURCES = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default"
WITH = f"{SUBRESOURCES}/virtualmachinepools/{{}}/scaledownwith"


@pytest.fixture
async def api(folder: Path) -> AsyncIterator[Api]:
    """With the pool ``workers`` of the machines workers-a, -b and -c, and ``other``, which is of another pool."""
    key = ("virtualmachinepools", "scaledownwith")
    table: dict[tuple[str, str], SubresourceHandler] = {key: None}  # type: ignore[dict-item]  # until there is a store
    async with serving(folder, sessions=table) as running:
        table.update(ScaleDown(running.store).handlers())
        for name, members in (("workers", "abc"), ("others", "d")):
            pool = example("VirtualMachinePool", "workers")
            pool["metadata"]["name"] = name
            pool["spec"].update(scaleDownPolicy="Explicit", replicas=len(members))
            made = (await running.store.create(VIRTUAL_MACHINE_POOL, "default", pool)).object()
            for letter in members:
                disks = {"root": f"{letter}-root", "data": f"{letter}-data"}
                body = pooling.member(made, f"workers-{letter}", disks)
                await running.store.create(VIRTUAL_MACHINE, "default", body)
        yield running


async def replicas(api: Api) -> int:
    found: int = (await api.store.get(VIRTUAL_MACHINE_POOL, "default", "workers")).object()["spec"]["replicas"]
    return found


async def going(api: Api) -> list[str]:
    found = [one.object() for one in (await api.store.list(VIRTUAL_MACHINE, "default")).items]
    return sorted(vm["metadata"]["name"] for vm in found if vm["metadata"].get("deletionTimestamp"))


async def scale_down(api: Api, pool: str = "workers", query: str = "", **body: Any) -> tuple[int, Object]:
    return await api.call("POST", WITH.format(pool) + query, body)


async def test_machines_go_by_name_and_the_number_with_them(api: Api) -> None:
    status, told = await scale_down(api, targets=["workers-a", "workers-c"])
    assert (status, told["status"]) == (200, "Success"), told
    assert told["message"] == 'VirtualMachine "workers-a", "workers-c" goes; spec.replicas is 1.'
    assert told["details"]["name"] == "workers"
    assert (await going(api), await replicas(api)) == (["workers-a", "workers-c"], 1)


async def test_asking_again_for_what_goes_already_changes_nothing(api: Api) -> None:
    await scale_down(api, targets=["workers-a"])
    status, _ = await scale_down(api, targets=["workers-a"])
    assert status == 200, "its first answer may have been lost"
    assert (await going(api), await replicas(api)) == (["workers-a"], 2)
    await scale_down(api, targets=["workers-a", "workers-b"])
    assert (await going(api), await replicas(api)) == (["workers-a", "workers-b"], 1)


async def test_a_machine_that_is_named_twice_counts_once(api: Api) -> None:
    await scale_down(api, targets=["workers-a", "workers-a"])
    assert (await going(api), await replicas(api)) == (["workers-a"], 2)


async def test_a_rehearsal_removes_nothing(api: Api) -> None:
    hows: list[dict[str, Any]] = [{"dryRun": ["All"]}, {"query": "?dryRun=All"}]
    for how in hows:
        status, told = await scale_down(api, targets=["workers-a"], **how)
        assert (status, told["message"]) == (200, 'VirtualMachine "workers-a" would go; spec.replicas is 2 then.')
        assert (await going(api), await replicas(api)) == ([], 3)
        assert (await scale_down(api, targets=["workers-d"], **how))[0] == 400


WRONG: list[tuple[Object, str]] = [
    ({}, "targets must name the machines"),
    ({"targets": []}, "targets must name the machines"),
    ({"targets": "workers-a"}, "targets must name the machines"),
    ({"targets": ["workers-a", ""]}, "targets must name the machines"),
    ({"targets": ["workers-a", 3]}, "targets must name the machines"),
    ({"targets": ["workers-a"], "dryRun": True}, "dryRun"),
    ({"targets": ["workers-a", "gone"]}, '"gone" does not exist; nothing was removed'),
    ({"targets": ["workers-a", "workers-d"]}, '"workers-d" is not a machine of the pool; nothing was removed'),
    ({"targets": ["workers-a", "../x"]}, '"../x" does not exist'),
    ({"targets": ["workers-a", *(f"m{number}" for number in range(99))]}, "and 89 more"),
]


async def test_nothing_goes_where_one_name_is_wrong(api: Api) -> None:
    for body, text in WRONG:
        status, told = await scale_down(api, **body)
        assert (status, told["reason"]) == (400, "BadRequest")
        assert text in told["message"]
    assert (await going(api), await replicas(api)) == ([], 3)


async def test_a_pool_that_is_not_there_or_goes_itself_has_no_machines_to_name(api: Api) -> None:
    status, told = await scale_down(api, "gone", targets=["workers-a"])
    assert (status, told["reason"]) == (404, "NotFound")
    patch = {"metadata": {"finalizers": ["example.com/held"]}}
    merge = {"Content-Type": "application/merge-patch+json"}
    await api.call("PATCH", f"{POOLS}/workers", patch, headers=merge)
    await api.call("DELETE", f"{POOLS}/workers")
    status, told = await scale_down(api, targets=["workers-a"])
    assert status == 400
    assert "is being deleted" in told["message"]


async def test_other_methods_are_refused(api: Api) -> None:
    assert (await api.call("GET", WITH.format("workers")))[0] == 405


async def test_scale_is_read_written_and_compared(api: Api) -> None:
    status, scale = await api.call("GET", SCALE)
    assert (status, scale["kind"], scale["apiVersion"]) == (200, "Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 3}
    status, wider = await api.call("PUT", SCALE, {**scale, "spec": {"replicas": 5}})
    assert (status, wider["spec"]) == (200, {"replicas": 5})
    assert wider["metadata"]["resourceVersion"] != scale["metadata"]["resourceVersion"]
    status, told = await api.call("PUT", SCALE, {**scale, "spec": {"replicas": 6}})
    assert (status, told["reason"]) == (409, "Conflict")
    merge = {"Content-Type": "application/merge-patch+json"}
    status, patched = await api.call("PATCH", SCALE, {"spec": {"replicas": 7}}, headers=merge)
    assert (status, patched["spec"], await replicas(api)) == (200, {"replicas": 7}, 7)


async def test_scale_takes_nobody_away_who_has_to_be_named(api: Api) -> None:
    merge = {"Content-Type": "application/merge-patch+json"}
    status, told = await api.call("PATCH", SCALE, {"spec": {"replicas": 2}}, headers=merge)
    assert (status, told["reason"]) == (422, "Invalid")
    assert 'VirtualMachinePool "workers" has scaleDownPolicy Explicit' in told["message"]
    assert "scaledownwith" in told["message"]
    status, told = await api.call("PUT", SCALE, {"metadata": {"name": "workers"}, "spec": {}})
    assert status == 422
    assert await replicas(api) == 3
    patch = {"spec": {"scaleDownPolicy": "OldestFirst"}}
    await api.call("PATCH", f"{POOLS}/workers", patch, headers=merge)
    assert (await api.call("PATCH", SCALE, {"spec": {"replicas": 2}}, headers=merge))[0] == 200
