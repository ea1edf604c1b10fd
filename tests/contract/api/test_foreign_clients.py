"""Clients and an operator framework that other people wrote, unmodified, with the printed kubeconfig."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kopf
import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import new_class
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import GenericNamespacedResource, create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import PatchType

from tests.unit.api.conftest import GROUP, Api, machine, serving

VMS = f"{GROUP}/namespaces/default/virtualmachines"
KIND = ("virtualization.deckhouse.io", "v1alpha2", "VirtualMachine", "virtualmachines")


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Api]:
    async with serving(folder, admission=False) as running:
        yield running


async def test_lightkube(server: Api) -> None:
    config = KubeConfig.from_file(str(server.settings.kubeconfig_path))
    machines = create_namespaced_resource(*KIND)
    client = AsyncClient(config=config, namespace="default", field_manager="lightkube")
    made = await client.create(machines.from_dict(machine("web", labels={"app": "web"})))
    assert made.metadata is not None
    assert made.metadata.uid
    seen: list[tuple[str, str]] = []

    async def follow() -> None:
        version = made.metadata.resourceVersion if made.metadata else ""
        async for event, obj in client.watch(machines, resource_version=version, server_timeout=20):
            seen.append((event, _memory(obj)))
            if event == "DELETED":
                return

    following = asyncio.create_task(follow())
    bigger = {"spec": {"memory": {"size": "1Gi"}}}
    assert _memory(await client.patch(machines, "web", bigger, patch_type=PatchType.MERGE)) == "1Gi"
    applied = machines.from_dict(machine("web"))
    applied["spec"]["memory"]["size"] = "2Gi"
    assert _memory(await client.apply(applied, force=True)) == "2Gi"
    by_label = [obj async for obj in client.list(machines, labels={"app": ["web", "db"]}, chunk_size=1)]
    assert [obj.metadata.name for obj in by_label if obj.metadata] == ["web"]
    await client.delete(machines, "web")
    await asyncio.wait_for(following, 20)
    assert seen == [("MODIFIED", "1Gi"), ("MODIFIED", "2Gi"), ("DELETED", "2Gi")]
    with pytest.raises(ApiError) as caught:
        await client.get(machines, "web")
    assert caught.value.status.reason == "NotFound"
    config_map = await client.create(ConfigMap(metadata=ObjectMeta(generateName="c-"), data={"k": "v"}))
    assert config_map.metadata is not None
    await client.deletecollection(ConfigMap)
    assert not [one async for one in client.list(ConfigMap)]
    await client.close()


def _memory(obj: GenericNamespacedResource) -> str:
    size: str = obj["spec"]["memory"]["size"]
    return size


async def test_kr8s(server: Api) -> None:
    api = await kr8s.asyncio.api(kubeconfig=str(server.settings.kubeconfig_path))
    assert (await api.version())["major"] == "1"
    machines: Any = new_class("VirtualMachine", "virtualization.deckhouse.io/v1alpha2", namespaced=True)
    web = await machines(machine("web"), api=api)
    await web.create()
    assert await web.exists()
    await web.patch({"spec": {"memory": {"size": "1Gi"}}}, type="merge")
    await web.label(app="web")
    await web.annotate({"note": "seen"})
    await web.refresh()
    assert (web.spec.memory.size, web.labels["app"], web.annotations["note"]) == ("1Gi", "web", "seen")
    kinds = {(one["kind"], one["namespaced"]) for one in await api.api_resources()}
    assert {("VirtualMachine", True), ("Node", False)} <= kinds
    listed = [
        str(one["metadata"]["name"]) async for one in api.get("virtualmachines", label_selector={"app": "web"})
    ]
    assert listed == ["web"]
    async for event, obj in api.watch("virtualmachines", namespace="default"):
        assert (event, obj.name) == ("ADDED", "web")
        break
    await web.patch({"status": {"phase": "Pending"}}, subresource="status", type="merge")
    waiting = asyncio.create_task(web.wait("condition=Running", timeout=20))
    condition = {"type": "Running", "status": "True", "reason": "Running", "message": "",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    await web.patch({"status": {"conditions": [condition]}}, subresource="status", type="merge")
    await waiting
    await web.delete(propagation_policy="Foreground")
    assert not await web.exists()


async def test_a_kopf_operator_creates_updates_and_deletes(server: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig_path))
    registry, ready, stop = kopf.OperatorRegistry(), asyncio.Event(), asyncio.Event()
    handled: asyncio.Queue[str] = asyncio.Queue()
    settings = kopf.OperatorSettings()
    settings.posting.enabled = True
    settings.persistence.finalizer = "tests.hyperd.local/finalizer"

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.create(KIND[0], KIND[1], KIND[3], registry=registry)
    async def created(name: str, body: kopf.Body, **_: Any) -> dict[str, str]:
        kopf.info(body, reason="Noticed", message="a machine was made")
        await handled.put(f"create {name}")
        return {"seen": "yes"}

    @kopf.on.update(KIND[0], KIND[1], KIND[3], field="spec.memory.size", registry=registry)
    async def updated(name: str, new: Any, **_: Any) -> None:
        await handled.put(f"update {name} {new}")

    @kopf.on.delete(KIND[0], KIND[1], KIND[3], registry=registry)
    async def deleted(name: str, **_: Any) -> None:
        await handled.put(f"delete {name}")

    operator = kopf.operator(
        registry=registry,
        settings=settings,
        namespaces=["default"],
        standalone=True,
        ready_flag=ready,
        stop_flag=stop,
    )
    running = asyncio.create_task(operator)
    try:
        await asyncio.wait_for(ready.wait(), 30)
        await server.call("POST", VMS, machine("web"))
        assert await asyncio.wait_for(handled.get(), 30) == "create web"
        merge = {"headers": {"Content-Type": "application/merge-patch+json"}}
        await server.call("PATCH", f"{VMS}/web", {"spec": {"memory": {"size": "1Gi"}}}, **merge)
        assert await asyncio.wait_for(handled.get(), 30) == "update web 1Gi"
        _, web = await server.call("GET", f"{VMS}/web")
        assert web["metadata"]["finalizers"] == ["tests.hyperd.local/finalizer"]
        async with server.client.get(
            f"http://h{VMS}?watch=1&resourceVersion={await server.version()}"
        ) as watching:
            await server.call("DELETE", f"{VMS}/web")
            assert await asyncio.wait_for(handled.get(), 30) == "delete web"
            async for line in watching.content:
                if b'"type":"DELETED"' in line:
                    break
        _, events = await server.call("GET", "/api/v1/namespaces/default/events")
        assert "Noticed" in {event["reason"] for event in events["items"]}
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)
