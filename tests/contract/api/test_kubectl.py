"""What an administrator does all day with kubectl, unmodified."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from tests.contract.api.conftest import Kubectl
from tests.unit.api.conftest import machine

READS = [
    ("get vm", ["NAME", "PHASE", "web"]),
    ("get virtualmachines.virtualization.deckhouse.io web", ["web"]),
    ("get vm -o wide", ["NAME", "web"]),
    ("get vm web -o yaml", ["kind: VirtualMachine", "note: first", "generation: 1"]),
    ("get vm web -o json", ['"kind": "VirtualMachine"']),
    ("get vm web -o jsonpath={.spec.memory.size}", ["512Mi"]),
    ("get vm -o custom-columns=N:.metadata.name,M:.spec.memory.size", ["web", "512Mi"]),
    ("get vm -o name", ["virtualmachine.virtualization.deckhouse.io/web"]),
    ("get vm -l app=web", ["web"]),
    ("get vm -l app!=web,app notin (x)", ["No resources found"]),
    ("get vm --field-selector metadata.name=web", ["web"]),
    ("get vm -A --sort-by=.metadata.name", ["NAMESPACE", "default", "web"]),
    ("get vm --show-labels", ["app=web"]),
    ("get vm --chunk-size=1", ["web"]),
    ("get virtualization", ["virtualmachine.virtualization.deckhouse.io/web"]),
    ("get all", ["virtualmachine.virtualization.deckhouse.io/web"]),
    ("get ns", ["default", "Active"]),
    ("get nodes", ["metal", "Ready"]),
    ("get nodes -o wide", ["metal", "6.1"]),
    ("get pods -A", ["No resources found"]),
    ("get pvc,pv,sc,svc,cm,secrets,leases,events -A", []),
    ("describe vm web", ["Name:         web", "Kind:         VirtualMachine", "Events:", "512Mi"]),
    ("describe node metal", ["metal", "LibvirtUp", "Non-terminated Pods:"]),
    ("describe ns default", ["Status:", "Active"]),
    ("events", ["No events found"]),
    ("events --for vm/web", ["No events found"]),
    ("explain vm", ["KIND:       VirtualMachine", "spec", "status"]),
    ("explain vm.spec.memory.size", ["FIELD: size"]),
    ("explain vm.metadata.labels", ["FIELD: labels"]),
    ("explain vm --recursive", ["blockDeviceRefs"]),
    ("explain vmop.spec.type", ["FIELD: type"]),
    ("explain ns.status.phase", ["FIELD: phase"]),
    ("api-resources", ["virtualmachines", "vm", "VirtualMachine"]),
    ("api-resources --api-group=virtualization.deckhouse.io -o wide", ["deletecollection"]),
    ("api-versions", ["virtualization.deckhouse.io/v1alpha2", "v1"]),
    ("cluster-info", ["control plane", "is running at"]),
    ("version", ["Server Version: v1.33"]),
    ("get --raw /readyz", ["ok"]),
    ("get --raw /metrics", ["hyperd_api_requests_total"]),
    ("get vm web --subresource=status -o name", ["web"]),
    ("get vm web -o yaml --show-managed-fields", ["kind: VirtualMachine"]),
    ("get events --field-selector involvedObject.name=web,involvedObject.kind=VirtualMachine", ["No resources"]),
    ("get vm --ignore-not-found absent", []),
    ("get nodes --field-selector spec.unschedulable=false", ["metal"]),
    ("get --raw /apis/virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines?pretty=1", ["\n  "]),
    ("describe vm -l app=web", ["Name:         web"]),
    ("api-resources --verbs=list,watch --namespaced=false -o name", ["nodes", "namespaces"]),
    ("api-resources --categories=virtualization", ["virtualmachines"]),
    ("completion bash", ["complete"]),
    ("__complete get vm w", ["web"]),
    ("get virtualmachineclasses.v1alpha3.virtualization.deckhouse.io generic -o yaml", ["io/v1alpha3"]),
    ("get virtualmachineclasses.v1alpha2.virtualization.deckhouse.io generic -o yaml", ["io/v1alpha2"]),
    ("explain vmclass", ["v1alpha3"]),
    ("explain vmclass --api-version=virtualization.deckhouse.io/v1alpha3", ["v1alpha3"]),
    ("wait vm/web --for=jsonpath={.spec.memory.size}=512Mi", ["condition met"]),
    ("create configmap x --from-literal=a=b --dry-run=server -o name", ["configmap/x"]),
]


async def test_reading(kubectl: Kubectl) -> None:
    # Many commands of one server: starting a server for each would take longer than they do.
    gate = asyncio.Semaphore(2)

    async def check(command: str, fragments: Sequence[str]) -> None:
        words = command.split(" ") if "notin" not in command else ["get", "vm", "-l", "app!=web,app notin (x)"]
        async with gate:
            output = await kubectl.run(*words)
        for fragment in fragments:
            assert fragment in output, f"{command}: {output}"

    async with asyncio.TaskGroup() as group:
        for command, fragments in READS:
            group.create_task(check(command, fragments))


async def test_a_kind_is_read_in_its_new_version_and_the_old_one_warns(kubectl: Kubectl) -> None:
    listed = await kubectl.run("get", "vmclass", "-o", "jsonpath={.items[*].apiVersion}")
    assert listed == "virtualization.deckhouse.io/v1alpha3"
    old = await kubectl.run("get", "virtualmachineclasses.v1alpha2.virtualization.deckhouse.io")
    assert "Warning: virtualization.deckhouse.io/v1alpha2 VirtualMachineClass is deprecated" in old


async def test_apply_creates_then_finds_nothing_to_do_then_changes(kubectl: Kubectl) -> None:
    new = machine("db", labels={"tier": "db"})
    path = kubectl.write("db.yaml", new)
    assert "created (server dry run)" in await kubectl.run("apply", "-f", path, "--dry-run=server")
    assert "NotFound" in await kubectl.run("get", "vm", "db", rc=1)
    assert "created" in await kubectl.run("apply", "-f", path)
    before = await kubectl.run("get", "vm", "db", "-o", "jsonpath={.metadata.resourceVersion}")
    assert "unchanged" in await kubectl.run("apply", "-f", path)
    assert before == await kubectl.run("get", "vm", "db", "-o", "jsonpath={.metadata.resourceVersion}")
    new["spec"]["memory"]["size"] = "1Gi"
    path = kubectl.write("db.yaml", new)
    difference = await kubectl.run("diff", "-f", path, rc=1)
    assert "-    size: 512Mi" in difference
    assert "+    size: 1Gi" in difference
    assert "configured (server dry run)" in await kubectl.run("apply", "-f", path, "--dry-run=server")
    assert before == await kubectl.run("get", "vm", "db", "-o", "jsonpath={.metadata.resourceVersion}")
    assert "configured" in await kubectl.run("apply", "-f", path)
    assert await kubectl.run("get", "vm", "db", "-o", "jsonpath={.spec.memory.size}") == "1Gi"
    assert await kubectl.run("get", "vm", "db", "-o", "jsonpath={.metadata.generation}") == "2"
    assert await kubectl.run("diff", "-f", path) == ""


async def test_create_edit_replace_and_patch(kubectl: Kubectl) -> None:
    path = kubectl.write("a.yaml", machine("a"))
    assert "created" in await kubectl.run("create", "-f", path)
    assert "AlreadyExists" in await kubectl.run("create", "-f", path, rc=1)
    assert "edited" in await kubectl.run("edit", "vm", "web")
    assert await kubectl.run("get", "vm", "web", "-o", "jsonpath={.metadata.annotations.note}") == "edited"
    current = json.loads(await kubectl.run("get", "vm", "a", "-o", "json"))
    current["spec"]["memory"]["size"] = "2Gi"
    assert "replaced" in await kubectl.run("replace", "-f", kubectl.write("b.yaml", current))
    assert "Conflict" in await kubectl.run("replace", "-f", kubectl.write("b.yaml", current), rc=1)
    merge = '{"spec":{"memory":{"size":"3Gi"}}}'
    assert "patched" in await kubectl.run("patch", "vm", "a", "--type=merge", "-p", merge)
    json_patch = '[{"op":"replace","path":"/spec/memory/size","value":"4Gi"}]'
    assert "patched" in await kubectl.run("patch", "vm", "a", "--type=json", "-p", json_patch)
    assert await kubectl.run("get", "vm", "a", "-o", "jsonpath={.spec.memory.size}") == "4Gi"
    assert "unknown format" in await kubectl.run("patch", "vm", "a", "-p", merge, rc=1)
    status = '{"status":{"phase":"Pending"}}'
    await kubectl.run("patch", "vm", "a", "--subresource=status", "--type=merge", "-p", status)
    assert "condition met" in await kubectl.run("wait", "vm/a", "--for=jsonpath={.status.phase}=Pending")


async def test_label_annotate_and_wait_for_a_condition(kubectl: Kubectl) -> None:
    assert "labeled" in await kubectl.run("label", "vm", "web", "x=y")
    assert "not labeled" in await kubectl.run("label", "vm", "web", "x=y", "--overwrite")
    assert "annotated" in await kubectl.run("annotate", "vm", "web", "note=two", "--overwrite")
    waiting = await kubectl.start("wait", "vm/web", "--for=condition=Running", "--timeout=20s")
    condition = {
        "type": "Running",
        "status": "True",
        "reason": "Running",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    patch = json.dumps({"status": {"conditions": [condition]}})
    await kubectl.run("patch", "vm", "web", "--subresource=status", "--type=merge", "-p", patch)
    output, _ = await asyncio.wait_for(waiting.communicate(), 30)
    assert b"condition met" in output


async def test_a_watch_shows_what_changes(kubectl: Kubectl) -> None:
    watching = await kubectl.start("get", "vm", "-w")
    assert watching.stdout is not None
    assert b"NAME" in await asyncio.wait_for(watching.stdout.readline(), 20)
    assert b"web" in await asyncio.wait_for(watching.stdout.readline(), 20)
    await kubectl.run("create", "-f", kubectl.write("late.yaml", machine("late")))
    assert b"late" in await asyncio.wait_for(watching.stdout.readline(), 20)
    watching.terminate()
    await watching.wait()


async def test_watching_alone_shows_no_past_and_kinds_of_events(kubectl: Kubectl) -> None:
    watching = await kubectl.start("get", "vm", "--watch-only", "--output-watch-events", "-o", "name")
    assert watching.stdout is not None
    # Nothing tells when kubectl watches; it shows changes from then on alone.
    for number in range(50):
        await kubectl.run("label", "vm", "web", f"n={number}", "--overwrite")
        try:
            line = await asyncio.wait_for(watching.stdout.readline(), 1)
            break
        except TimeoutError:
            continue
    assert line.split()[-1].endswith(b"virtualmachine.virtualization.deckhouse.io/web")
    assert b"ADDED" not in line
    watching.terminate()
    await watching.wait()


async def test_prune_deletes_what_is_no_longer_in_the_manifests(kubectl: Kubectl) -> None:
    ours = {"set": "pruned"}
    both = kubectl.write("both.yaml", machine("keep", labels=ours), machine("drop", labels=ours))
    await kubectl.run("apply", "-f", both)
    allowed = "--prune-allowlist=virtualization.deckhouse.io/v1alpha2/VirtualMachine"
    one = kubectl.write("one.yaml", machine("keep", labels=ours))
    output = await kubectl.run("apply", "-f", one, "--prune", "-l", "set=pruned", allowed)
    assert "drop pruned" in output
    names = await kubectl.run("get", "vm", "-o", "name")
    assert "keep" in names
    assert "web" in names
    assert "drop" not in names


async def test_namespaces_secrets_and_config_maps(kubectl: Kubectl) -> None:
    assert "created" in await kubectl.run("create", "namespace", "demo")
    assert "created" in await kubectl.run("-n", "demo", "create", "secret", "generic", "s", "--from-literal=k=v")
    assert await kubectl.run("-n", "demo", "get", "secret", "s", "-o", "jsonpath={.data.k}") == "dg=="
    assert "created" in await kubectl.run("-n", "demo", "create", "configmap", "c", "--from-literal=k=v")
    assert "patched" in await kubectl.run("patch", "namespace", "demo", "-p", '{"metadata":{"labels":{"a":"b"}}}')
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t"}, "stringData": {"a": "1"}}
    await kubectl.run("-n", "demo", "apply", "-f", kubectl.write("t.yaml", secret))
    secret["stringData"] = {"a": "2"}
    assert "configured" in await kubectl.run("-n", "demo", "apply", "-f", kubectl.write("t.yaml", secret))
    assert 'namespaces "absent" not found' in await kubectl.run("-n", "absent", "create", "configmap", "c", rc=1)
    assert "deleted" in await kubectl.run("delete", "namespace", "demo")
    assert "NotFound" in await kubectl.run("get", "namespace", "demo", rc=1)


async def test_delete_by_name_by_label_and_all(kubectl: Kubectl) -> None:
    machines = [machine(name, labels={"set": "first" if name < "m" else "last"}) for name in ("a", "b", "yy", "z")]
    await kubectl.run("create", "-f", kubectl.write("many.yaml", *machines))
    assert "server dry run" in await kubectl.run("delete", "vm", "a", "--dry-run=server")
    assert "deleted" in await kubectl.run("delete", "vm", "a")
    assert "deleted" in await kubectl.run("delete", "vm", "-l", "set=first", "--cascade=foreground")
    names = await kubectl.run("get", "vm", "-o", "name")
    assert "/b" not in names
    assert "/yy" in names
    assert "deleted" in await kubectl.run("delete", "vm/yy", "--now", "--wait=true")
    assert "NotFound" in await kubectl.run("delete", "vm", "yy", rc=1)
    await kubectl.run("delete", "vm", "yy", "--ignore-not-found")
    assert "replaced" in await kubectl.run("replace", "--force", "-f", kubectl.write("z.yaml", machine("z")))
    waiting = await kubectl.start("wait", "vm/z", "--for=delete", "--timeout=20s")
    await kubectl.run("delete", "vm", "--all")
    assert await asyncio.wait_for(waiting.wait(), 30) == 0
    assert "No resources found" in await kubectl.run("get", "vm")


async def test_what_is_wrong_is_said_by_field(kubectl: Kubectl) -> None:
    wrong = machine("wrong")
    wrong["spec"]["memry"] = "1Gi"
    assert 'unknown field "spec.memry"' in await kubectl.run("create", "-f", kubectl.write("w.yaml", wrong), rc=1)
    wrong = machine("wrong")
    wrong["spec"]["memory"]["size"] = []
    assert "spec.memory.size" in await kubectl.run("create", "-f", kubectl.write("w.yaml", wrong), rc=1)
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {}}
    told = await kubectl.run("apply", "-f", kubectl.write("i.yaml", ingress), rc=1)
    assert 'no matches for kind "Ingress" in version "networking.k8s.io/v1"' in told
