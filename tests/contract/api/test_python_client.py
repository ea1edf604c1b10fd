"""kubernetes-asyncio, typed and dynamic, with the printed kubeconfig."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.client.api_client import ApiClient
from kubernetes_asyncio.dynamic import DynamicClient

from tests.unit.api.conftest import Api, machine, serving

VM = ("virtualization.deckhouse.io", "v1alpha2", "default", "virtualmachines")


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Api]:
    async with serving(folder, admission=False) as running:
        yield running


@pytest.fixture
async def api_client(server: Api) -> AsyncIterator[ApiClient]:
    configuration = client.Configuration()
    await config.load_kube_config(str(server.settings.kubeconfig_path), client_configuration=configuration)
    async with ApiClient(configuration) as opened:
        yield opened


async def test_the_typed_client_creates_watches_patches_and_deletes_a_machine(api_client: ApiClient) -> None:
    objects = client.CustomObjectsApi(api_client)
    created = await objects.create_namespaced_custom_object(*VM, machine("web"))
    version = created["metadata"]["resourceVersion"]
    seen: list[tuple[str, Any]] = []

    async def follow() -> None:
        async with watch.Watch().stream(
            objects.list_namespaced_custom_object, *VM, resource_version=version, timeout_seconds=20
        ) as stream:
            async for event in stream:
                seen.append((event["type"], event["object"]["spec"]["memory"]["size"]))
                if event["type"] == "DELETED":
                    return

    following = asyncio.create_task(follow())
    patch = {"spec": {"memory": {"size": "1Gi"}}}
    change: Any = objects.patch_namespaced_custom_object
    await change(*VM, "web", patch, _content_type="application/merge-patch+json")
    operations = [{"op": "replace", "path": "/spec/memory/size", "value": "2Gi"}]
    await change(*VM, "web", operations, _content_type="application/json-patch+json")
    listed = await objects.list_namespaced_custom_object(*VM)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["web"]
    deleted = await objects.delete_namespaced_custom_object(*VM, "web")
    assert deleted["status"] == "Success"
    await asyncio.wait_for(following, 20)
    assert seen == [("MODIFIED", "1Gi"), ("MODIFIED", "2Gi"), ("DELETED", "2Gi")]
    with pytest.raises(client.ApiException) as caught:
        await objects.get_namespaced_custom_object(*VM, "web")
    assert caught.value.status == 404


async def test_a_version_from_before_the_log_ends_a_watch_with_410(api_client: ApiClient) -> None:
    objects = client.CustomObjectsApi(api_client)

    async def follow() -> None:
        async with watch.Watch().stream(
            objects.list_namespaced_custom_object, *VM, resource_version="1", timeout_seconds=5
        ) as stream:
            async for _ in stream:
                pass

    with pytest.raises(client.ApiException) as caught:
        await follow()
    assert caught.value.status == 410


async def test_the_dynamic_client_creates_watches_patches_and_deletes_a_machine(api_client: ApiClient) -> None:
    dynamic = await DynamicClient(api_client)
    machines = await dynamic.resources.get(
        api_version="virtualization.deckhouse.io/v1alpha2", kind="VirtualMachine"
    )
    created = await machines.create(body=machine("web"), namespace="default")
    assert created.metadata.name == "web"
    patched = await machines.patch(
        body={"spec": {"memory": {"size": "1Gi"}}},
        name="web",
        namespace="default",
        content_type="application/merge-patch+json",
    )
    assert patched.spec.memory.size == "1Gi"
    listed = await machines.get(namespace="default", label_selector="")
    assert len(listed.items) == 1
    async for event in machines.watch(namespace="default", timeout=5):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "web")
        break
    await machines.delete(name="web", namespace="default")
    assert not (await machines.get(namespace="default")).items


async def test_core_kinds_work_through_their_typed_clients(api_client: ApiClient) -> None:
    core = client.CoreV1Api(api_client)
    await core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="demo")))
    secret = client.V1Secret(metadata=client.V1ObjectMeta(generate_name="s-"), string_data={"k": "v"})
    made = await core.create_namespaced_secret("demo", secret)
    assert made.metadata.name.startswith("s-")
    assert (await core.read_namespaced_secret(made.metadata.name, "demo")).data == {"k": "dg=="}
    assert {item.metadata.name for item in (await core.list_namespace()).items} >= {"default", "demo"}
    assert (await core.list_pod_for_all_namespaces()).items == []
    assert (await client.VersionApi(api_client).get_code()).minor == "33"
