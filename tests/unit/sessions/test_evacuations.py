"""A machine whose Pod was asked to go stays after all: the mark goes, then what moves the guest because of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from aiohttp import ClientSession, web

from hyperd.api.serving.middleware import Middleware, RequestInfo
from hyperd.api.sessions.evacuations import Evacuations
from hyperd.api.wire.metrics import Metrics
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.names import POD_EVICTED_ANNOTATION, VMOP_EVACUATION_ANNOTATION
from hyperd.store.interface import Item, PatchType, Preconditions, User
from tests.parts import Part, part
from tests.unit.admission.world import World

MARK = {POD_EVICTED_ANNOTATION: "true"}


class Cluster(World):
    def __init__(self, *objects: Part) -> None:
        super().__init__(list(objects))
        self.done: list[tuple[str, Any]] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Item:
        return Item.of(await self.find(kind, namespace, name))

    async def patch(self, kind: Kind, namespace: str, name: str, _: PatchType, patch: Any) -> None:
        self.done.append((name, patch["metadata"]["annotations"]))

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, preconditions: Preconditions, write: object
    ) -> None:
        self.done.append((name, preconditions.uid))


def machine() -> Part:
    pods = [{"name": "virt-launcher-web-a", "active": True}]
    meta = {"namespace": "shop", "name": "web", "uid": "vm-1", "resourceVersion": "1"}
    return {"kind": "VirtualMachine", "metadata": meta, "status": {"virtualMachinePods": pods}}


def pod(annotations: Part) -> Part:
    meta = {"namespace": "shop", "name": "virt-launcher-web-a", "uid": "p-1", "annotations": annotations}
    return {"kind": "Pod", "metadata": meta}


def operation(name: str, phase: str, machine: str = "web", *, evacuates: bool = True) -> Part:
    annotations = {VMOP_EVACUATION_ANNOTATION: "true"} if evacuates else {}
    return {
        "kind": "VirtualMachineOperation",
        "metadata": {"namespace": "shop", "name": name, "uid": f"uid of {name}", "annotations": annotations},
        "spec": {"virtualMachineName": machine},
        "status": {"phase": phase},
    }


async def put(cluster: Cluster, body: Part) -> tuple[int, str]:
    ((_, handler),) = Evacuations(part(cluster)).handlers().items()

    async def answer(request: web.BaseRequest, request_id: str, seen: RequestInfo) -> web.StreamResponse:
        return await handler(request, User("ann"), "shop", "web")

    runner = web.ServerRunner(web.Server(Middleware(answer, Metrics(()))))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with ClientSession() as client, client.put(url, json=body) as response:
            return response.status, (await response.json())["message"]
    finally:
        await runner.cleanup()


async def test_it_stays_and_nothing_else_is_ended() -> None:
    there = (
        operation("evacuation-1", "Failed"),
        operation("evacuation-2", "InProgress"),
        operation("evacuation-3", "InProgress", "another"),
        operation("mine", "InProgress", evacuates=False),
    )
    cluster = Cluster(machine(), pod(MARK), *there)
    assert await put(cluster, {}) == (200, "The evacuation of VirtualMachine shop/web is cancelled.")
    assert cluster.done == [
        ("virt-launcher-web-a", {POD_EVICTED_ANNOTATION: None}),
        ("evacuation-2", "uid of evacuation-2"),
    ]


async def test_a_rehearsal_changes_nothing() -> None:
    cluster = Cluster(machine(), pod(MARK), operation("evacuation-1", "InProgress"))
    assert (await put(cluster, {"dryRun": ["All"]}))[0] == 200
    assert cluster.done == []


@pytest.mark.parametrize("there", [(machine(),), (machine(), pod({}))], ids=["no Pod", "not asked to go"])
async def test_one_that_nobody_asked_to_go_is_told_so(there: tuple[Part, ...]) -> None:
    cluster = Cluster(*copy.deepcopy(there))
    assert await put(cluster, {}) == (400, "vmi shop/web is not evacuated")
    assert cluster.done == []
