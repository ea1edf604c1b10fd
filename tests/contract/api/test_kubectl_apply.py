"""Server-side apply by kubectl, unmodified: conflicts, rehearsals, differences, client-side apply before."""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.contract.api.conftest import Kubectl
from tests.unit.api.conftest import machine
from tests.unit.resources.samples import examples

SIZE = "jsonpath={.spec.memory.size}"
VERSION = "jsonpath={.metadata.resourceVersion}"


def sized(name: str, size: str, **metadata: Any) -> dict[str, Any]:
    obj = machine(name, **metadata)
    obj["spec"]["memory"]["size"] = size
    return obj


async def managers(kubectl: Kubectl, *what: str) -> list[tuple[str, str]]:
    """(manager, operation) of each entry."""
    obj = json.loads(await kubectl.run("get", *what, "-o", "json", "--show-managed-fields"))
    return [(entry["manager"], entry["operation"]) for entry in obj["metadata"].get("managedFields", [])]


async def test_apply_creates_changes_and_finds_nothing_to_do(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f")
    path = kubectl.write("a.yaml", sized("a", "512Mi"))
    assert "serverside-applied (server dry run)" in await kubectl.run(*apply, path, "--dry-run=server")
    assert "NotFound" in await kubectl.run("get", "vm", "a", rc=1)
    assert "serverside-applied" in await kubectl.run(*apply, path)
    assert await managers(kubectl, "vm", "a") == [("kubectl", "Apply")]
    before = await kubectl.run("get", "vm", "a", "-o", VERSION)
    await kubectl.run(*apply, path)
    assert before == await kubectl.run("get", "vm", "a", "-o", VERSION)
    path = kubectl.write("a.yaml", sized("a", "1Gi"))
    difference = await kubectl.run("diff", "--server-side", "-f", path, rc=1)
    assert "-    size: 512Mi" in difference
    assert "+    size: 1Gi" in difference
    await kubectl.run(*apply, path, "--dry-run=server")
    assert before == await kubectl.run("get", "vm", "a", "-o", VERSION)
    await kubectl.run(*apply, path)
    assert await kubectl.run("get", "vm", "a", "-o", SIZE) == "1Gi"
    assert await kubectl.run("diff", "--server-side", "-f", path) == ""


async def test_a_conflict_is_told_with_its_fields_and_can_be_forced(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f")
    await kubectl.run(*apply, kubectl.write("a.yaml", sized("a", "512Mi")), "--field-manager=team-a")
    path = kubectl.write("b.yaml", sized("a", "2Gi"))
    told = await kubectl.run(*apply, path, "--field-manager=team-b", rc=1)
    assert 'Apply failed with 1 conflict: conflict with "team-a": .spec.memory.size' in told
    assert "Please review the fields above" in told
    assert "--force-conflicts" in told
    assert await kubectl.run("get", "vm", "a", "-o", SIZE) == "512Mi"
    await kubectl.run(*apply, path, "--field-manager=team-b", "--force-conflicts")
    assert await kubectl.run("get", "vm", "a", "-o", SIZE) == "2Gi"
    assert await managers(kubectl, "vm", "a") == [("team-a", "Apply"), ("team-b", "Apply")]


async def test_what_is_no_longer_applied_goes_unless_another_wants_it(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f")
    await kubectl.run(*apply, kubectl.write("a.yaml", sized("a", "1Gi", labels={"mine": "1", "ours": "2"})))
    path = kubectl.write("b.yaml", sized("a", "1Gi", labels={"ours": "2"}))
    await kubectl.run(*apply, path, "--field-manager=other")
    await kubectl.run(*apply, kubectl.write("a.yaml", sized("a", "1Gi")))
    labels = json.loads(await kubectl.run("get", "vm", "a", "-o", "jsonpath={.metadata.labels}"))
    assert labels == {"ours": "2"}


async def test_client_side_apply_is_taken_over(kubectl: Kubectl) -> None:
    path = kubectl.write("a.yaml", sized("a", "512Mi", labels={"old": "1"}))
    await kubectl.run("apply", "-f", path)
    assert await managers(kubectl, "vm", "a") == [("kubectl-client-side-apply", "Update")]
    path = kubectl.write("a.yaml", sized("a", "1Gi"))
    assert "serverside-applied" in await kubectl.run("apply", "--server-side", "-f", path)
    # kubectl itself keeps its annotation under a manager of its own.
    applied = [("kubectl-last-applied", "Apply"), ("kubectl", "Apply")]
    assert sorted(await managers(kubectl, "vm", "a")) == sorted(applied)
    obj = json.loads(await kubectl.run("get", "vm", "a", "-o", "json"))
    assert "labels" not in obj["metadata"]
    last = obj["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert json.loads(last)["spec"]["memory"]["size"] == "1Gi"
    path = kubectl.write("a.yaml", sized("a", "2Gi"))
    assert "configured" in await kubectl.run("apply", "-f", path)
    assert await kubectl.run("get", "vm", "a", "-o", SIZE) == "2Gi"


async def test_core_kinds_are_applied_too(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f")
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}}
    maps = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "demo"}}
    port = {"port": 80, "name": "web"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "demo"}}
    path = kubectl.write("core.yaml", space, {**maps, "data": {"a": "1"}}, {**service, "spec": {"ports": [port]}})
    assert (await kubectl.run(*apply, path)).count("serverside-applied") == 3
    more = {**port, "port": 443, "name": "tls"}
    path = kubectl.write("more.yaml", {**service, "spec": {"ports": [more]}}, {**maps, "data": {"b": "2"}})
    await kubectl.run(*apply, path, "--field-manager=other")
    get = ("-n", "demo", "get", "-o")
    assert await kubectl.run(*get, "jsonpath={.spec.ports[*].name}", "svc", "s") == "web tls"
    assert json.loads(await kubectl.run(*get, "jsonpath={.data}", "cm", "c")) == {"a": "1", "b": "2"}
    wrong = kubectl.write("wrong.yaml", {**maps, "datum": {"b": "2"}})
    assert "datum: field not declared in schema" in await kubectl.run(*apply, wrong, rc=1)


async def test_every_writer_is_named(kubectl: Kubectl) -> None:
    await kubectl.run("create", "-f", kubectl.write("a.yaml", sized("a", "512Mi")))
    await kubectl.run("label", "vm", "a", "l=1", "--field-manager=me")
    await kubectl.run("annotate", "vm", "a", "n=1")
    status = '{"status":{"phase":"Pending"}}'
    await kubectl.run("patch", "vm", "a", "--subresource=status", "--type=merge", "-p", status)
    obj = json.loads(await kubectl.run("get", "vm", "a", "-o", "json", "--show-managed-fields"))
    told = {(entry["manager"], entry.get("subresource", "")) for entry in obj["metadata"]["managedFields"]}
    assert told == {("kubectl-create", ""), ("me", ""), ("kubectl-annotate", ""), ("kubectl-patch", "status")}
    assert "managedFields" not in await kubectl.run("get", "vm", "a", "-o", "yaml")


async def test_a_pool_is_scaled(kubectl: Kubectl) -> None:
    pool = next(copy.deepcopy(obj) for obj in examples() if obj["kind"] == "VirtualMachinePool")
    pool["metadata"] = {"name": "web"}
    pool["spec"]["replicas"] = 2
    await kubectl.run("create", "-f", kubectl.write("pool.yaml", pool))
    assert "scaled" in await kubectl.run("scale", "vmpool/web", "--replicas=3")
    replicas = "jsonpath={.spec.replicas}"
    assert await kubectl.run("get", "vmpool", "web", "-o", replicas) == "3"
    assert "Expected replicas to be 7, was 3" in await kubectl.run(
        "scale", "vmpool/web", "--replicas=4", "--current-replicas=7", rc=1
    )
    assert "scaled" in await kubectl.run("scale", "vmpool/web", "--replicas=4", "--current-replicas=3")
    await kubectl.run("scale", "vmpool/web", "--replicas=5", "--dry-run=server")
    shown = await kubectl.run("get", "vmpool", "web", "--subresource=scale")
    assert shown.split()[:6] == ["NAME", "DESIRED", "AVAILABLE", "AGE", "web", "4"]
    assert await kubectl.run("get", "vmpool", "web", "--subresource=scale", "-o", replicas) == "4"
    patch = ("--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    await kubectl.run("patch", "vmpool", "web", *patch)
    assert await kubectl.run("get", "vmpool", "web", "-o", replicas) == "1"
