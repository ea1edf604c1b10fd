"""Machines as Pods, by kubectl alone: kube-scheduler places them, and the guest is where the Pod is, in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial

import pytest

from hyperd.resources.values.names import CONSOLE_LOG_ANNOTATION
from tests.cluster.controlplane.plane import document
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import GUEST_URL, Hyperds
from tests.cluster.nodes.images import BOX
from tests.cluster.nodes.machines import (
    BOOT_SECONDS,
    START_SECONDS,
    answers,
    get,
    make,
    make_machine,
    pod_of,
    running,
    until,
)
from tests.cluster.nodes.node import Node

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(400)]

_UID_LABEL = "virtualization.deckhouse.io/virtual-machine-uid"
_ACCOUNT = "system:serviceaccount:hyperd-system:hyperd"
_QEMU = ("pgrep", "-x", "qemu-system-x86")


@pytest.fixture(scope="module")
def web(hyperds: Hyperds) -> tuple[Node, str]:
    """The node and the address of a machine that runs; its name is web."""
    bed = hyperds.bed
    make_machine(bed, "web")
    bed.plane.kubectl("annotate", "vm/web", f"{CONSOLE_LOG_ANNOTATION}=true")
    make(
        bed,
        "VirtualDisk",
        "web",
        persistentVolumeClaim={"size": "256Mi"},
        dataSource={"type": "HTTP", "http": {"url": GUEST_URL}},
    )
    until(lambda: get(bed, "vm/web", "{.status.phase}") == "Running", START_SECONDS)
    node = next(node for node in hyperds.nodes if node.name == get(bed, "vm/web", "{.status.nodeName}"))
    address = get(bed, "vm/web", "{.status.ipAddress}")
    until(lambda: answers(node, address), BOOT_SECONDS)
    return node, address


def test_a_machine_runs_in_a_pod_that_the_scheduler_has_placed(bed: Bed, web: tuple[Node, str]) -> None:
    node, address = web
    bed.plane.kubectl("wait", "--for=condition=Ready", "pod", "-l", f"{_UID_LABEL}", "--timeout=60s")
    pod = pod_of(bed, "web")
    assert pod["spec"]["nodeName"] == node.name
    assert get(bed, "vm/web", "{.status.virtualMachinePods[*].name}") == pod["metadata"]["name"]
    scheduled = bed.plane.kubectl("get", "events", "--field-selector", "reason=Scheduled", "-o", "json")
    assert pod["metadata"]["name"] in {one["involvedObject"]["name"] for one in document(scheduled)["items"]}
    launcher, qemu = int(node.run("pgrep", "-x", "launcher")), int(node.run(*_QEMU))
    assert answers(node, address, inside=launcher)
    of_pod = f"/kubepods/burstable/pod{pod['metadata']['uid']}/hyperd-guest"
    threads = node.run("sh", "-c", f"cat /proc/{qemu}/task/*/cgroup")
    for controller in ("memory", "cpu", "pids"):
        assert set(re.findall(rf"(?m)^\d+:{controller}:(.*)$", threads)) == {of_pod}
    status = node.run("cat", f"/proc/{launcher}/status")
    assert int(status.partition("VmRSS:")[2].split()[0]) <= 2048
    assert re.search(r"CapEff:\s0+\n", status)
    assert "The guest runs." in bed.plane.kubectl("logs", pod["metadata"]["name"])


def test_its_console_is_in_the_pods_log_where_it_asks_for_that(bed: Bed, web: tuple[Node, str]) -> None:
    name = pod_of(bed, "web")["metadata"]["name"]
    until(lambda: "READY=guest" in bed.plane.kubectl("logs", name), 30)
    bed.plane.kubectl("annotate", "vm/web", f"{CONSOLE_LOG_ANNOTATION}-")


def test_its_labels_are_the_pods(bed: Bed, web: tuple[Node, str]) -> None:
    bed.plane.kubectl("label", "vm/web", "tier=front")
    until(lambda: pod_of(bed, "web")["metadata"]["labels"].get("tier") == "front", 20)
    bed.plane.kubectl("label", "vm/web", "tier-")
    until(lambda: "tier" not in pod_of(bed, "web")["metadata"]["labels"], 20)


@pytest.fixture(scope="module")
def far(hyperds: Hyperds, web: tuple[Node, str]) -> Iterator[Node]:
    """The other node with a hyperd, on which the Pod asking is."""
    bed, (near, _) = hyperds.bed, web
    (node,) = (each for each in hyperds.nodes if each is not near)
    decent = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsUser": 65534}
    box = {
        "name": "box",
        "image": BOX,
        "imagePullPolicy": "Never",
        "command": ["sleep", "3600"],
        "securityContext": {**decent, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    spec = {"nodeName": node.name, "terminationGracePeriodSeconds": 0, "containers": [box]}
    meta = {"name": "asking", "namespace": "default"}
    bed.plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    bed.plane.kubectl("wait", "--for=condition=Ready", "pod/asking", "--timeout=60s")
    yield node
    bed.plane.kubectl("delete", "pod/asking", "--timeout=60s")


def asks(bed: Bed, address: str) -> bool:
    """Whether the guest answers a Pod on the other node."""
    host, _, port = address.partition(":")
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {host} {port or 80}"
    return "guest" in bed.plane.kubectl("exec", "asking", "--", "sh", "-c", ask)


def way(node: Node, address: str) -> str:
    """The node's ways to a machine."""
    return node.run("ip", "route", "show", "table", "1490", address)


def has_no_way(node: Node, address: str) -> bool:
    return not way(node, address)


def test_its_address_is_reached_from_other_nodes_and_their_pods(
    bed: Bed, web: tuple[Node, str], far: Node
) -> None:
    near, address = web
    until(lambda: f"via {near.address}" in way(far, address), 20)
    assert answers(far, address)
    assert asks(bed, address)
    # By the node's events, not by the look at everything that comes each minute.
    for broken in (("route", "del", address, "table", "1490"), ("rule", "del", "priority", "1490")):
        far.run("ip", *broken)
        until(lambda: answers(far, address), 30)


def test_services_lead_to_it_from_other_nodes(bed: Bed, web: tuple[Node, str], far: Node) -> None:
    near, _ = web
    bed.plane.kubectl("label", "vm/web", "app=machine")
    ports = [{"port": 8000, "targetPort": 80}]
    for name, more in (("machine", {"type": "NodePort"}), ("headless", {"clusterIP": "None"})):
        meta = {"name": name, "namespace": "default"}
        spec = {"selector": {"app": "machine"}, "ports": ports, **more}
        bed.plane.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    service = get(bed, "service/machine", "{.spec.clusterIP}")
    until(lambda: asks(bed, f"{service}:8000"), 20)
    slices = ("endpointslices", "-l", "kubernetes.io/service-name=headless")
    endpoints = ("get", *slices, "-o", "jsonpath={.items[*].endpoints[*].addresses[*]}")
    until(lambda: bed.plane.kubectl(*endpoints).strip(), 20)
    said = bed.plane.kubectl(*endpoints).strip()
    assert said == pod_of(bed, "web")["status"]["podIP"]
    assert asks(bed, said)
    port = get(bed, "service/machine", "{.spec.ports[0].nodePort}")
    for node in (near, far):
        until(partial(answers, bed.nodes[2], f"{node.address}:{port}"), 20)
    bed.plane.kubectl("delete", "service/machine", "service/headless")


def test_a_way_stays_while_its_hyperd_is_killed_and_returns(
    hyperds: Hyperds, web: tuple[Node, str], far: Node
) -> None:
    _, address = web
    hyperds.kill(far)
    assert answers(far, address)
    far.run("ip", "route", "del", address, "table", "1490")
    said = len(hyperds.log(far))
    hyperds.begin(far)
    until(lambda: f"serves node {far.name}" in hyperds.log(far)[said:], START_SECONDS)
    until(lambda: answers(far, address), 20)


def test_nobody_else_makes_a_machines_pod(bed: Bed, web: tuple[Node, str]) -> None:
    container = {"name": "c", "image": "i"}
    forged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "forged", "namespace": "kube-system", "labels": {_UID_LABEL: "x"}},
        "spec": {"containers": [container]},
    }
    refused = bed.plane.kubectl("create", "-f", "-", stdin=json.dumps(forged), rc=1)
    assert "are made by hyperd alone" in refused
    name = f"pod/{pod_of(bed, 'web')['metadata']['name']}"
    assert "Forbidden" in bed.plane.kubectl("label", name, f"{_UID_LABEL}=x", "--overwrite", rc=1)
    assert "Forbidden" in bed.plane.kubectl("label", name, f"{_UID_LABEL}-", rc=1)
    # Nor has anybody what he likes run in one, where hyperd takes its word for where volumes are.
    said, (launcher,) = "is for hyperd alone to say", pod_of(bed, "web")["spec"]["containers"]
    assert said in bed.plane.kubectl("set", "image", name, f"{launcher['name']}=evil", rc=1)
    assert said in bed.plane.kubectl("debug", name, "--image=evil", "--profile=restricted", rc=1)


def test_hyperds_own_rights_make_no_other_pods(bed: Bed, hyperds: Hyperds) -> None:
    """Who has taken a daemon's credential cannot have a node by a Pod."""
    labels = {_UID_LABEL: "x"}
    plain = {"name": "c", "image": "i", "securityContext": {"allowPrivilegeEscalation": False}}
    decent = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True},
        "containers": [plain],
    }
    root = {"name": "host", "hostPath": {"path": "/"}}
    argv = ["create", "--dry-run=server", "-f", "-", f"--as={_ACCOUNT}"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "kube-system"}}
    refused = bed.plane.kubectl(*argv, stdin=json.dumps({**pod, "spec": decent}), rc=1)
    assert "has to do with no Pods but those of machines" in refused
    pod["metadata"] = {"name": "p", "namespace": "kube-system", "labels": labels}
    for spec in (
        {**decent, "volumes": [root]},
        {**decent, "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "somebody-s"}}]},
        {**decent, "hostNetwork": True},
        {**decent, "automountServiceAccountToken": True},
        {**decent, "containers": [{"name": "c", "image": "i"}]},
    ):
        refused = bed.plane.kubectl(*argv, stdin=json.dumps({**pod, "spec": spec}), rc=1)
        assert "makes no Pods that get anything from the node" in refused
    bed.plane.kubectl(*argv, stdin=json.dumps({**pod, "spec": decent}))


def test_hyperds_own_rights_touch_no_budget_of_others(bed: Bed, hyperds: Hyperds) -> None:
    argv = ["create", "--dry-run=server", "-f", "-", f"--as={_ACCOUNT}"]
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
    for selected, refused in (({"app": "db"}, True), ({_UID_LABEL: "x"}, False)):
        spec = {"minAvailable": 1, "selector": {"matchLabels": selected}}
        said = bed.plane.kubectl(*argv, stdin=json.dumps({**budget, "spec": spec}), rc=int(refused))
        assert ("no disruption budgets but those of machines" in said) is refused


def test_a_guest_does_not_notice_that_hyperd_is_killed(hyperds: Hyperds, web: tuple[Node, str]) -> None:
    node, address = web
    before, pod = node.run(*_QEMU), pod_of(hyperds.bed, "web")["metadata"]["uid"]
    hyperds.kill(node)
    assert answers(node, address)
    said = len(hyperds.log(node))
    hyperds.begin(node)
    until(lambda: f"serves node {node.name}" in hyperds.log(node)[said:], START_SECONDS)
    assert answers(node, address)
    assert node.run(*_QEMU) == before
    assert pod_of(hyperds.bed, "web")["metadata"]["uid"] == pod


def test_a_deleted_pod_has_the_guest_shut_down_and_begin_anew(hyperds: Hyperds, web: tuple[Node, str]) -> None:
    bed, (node, address) = hyperds.bed, web
    first = pod_of(bed, "web")["metadata"]
    bed.plane.kubectl("delete", f"pod/{first['name']}", "--timeout=60s")
    console = node.run("sh", "-c", "cat /var/log/hyperd/consoles/*.log")
    assert "Power down" in console
    until(lambda: pod_of(bed, "web").get("metadata", first)["uid"] != first["uid"], 30)
    until(lambda: get(bed, "vm/web", "{.status.phase}") == "Running", START_SECONDS)
    until(lambda: answers(node, address), BOOT_SECONDS)


def test_a_stopped_machine_has_no_pod_and_leaves_nothing(hyperds: Hyperds, web: tuple[Node, str]) -> None:
    bed, (node, address) = hyperds.bed, web
    make(bed, "VirtualMachineOperation", "stop", type="Stop", virtualMachineName="web")
    until(lambda: get(bed, "vm/web", "{.status.phase}") == "Stopped", 60)
    until(lambda: not pod_of(bed, "web"), 30)
    for each in hyperds.nodes:
        until(partial(has_no_way, each, address), 20)
        # Whatever the way out of the node is, nobody there is asked.
        assert "Invalid argument" in each.run("ip", "route", "get", address, rc=2)
    assert "hv" not in node.run("sh", "-c", "ip -br link | cut -d' ' -f1")
    bed.plane.kubectl("delete", "vm/web", "--timeout=60s")
    bed.plane.kubectl("delete", "vd/web", "--timeout=60s")


def test_the_scheduler_and_quotas_say_why_a_machine_waits(bed: Bed, hyperds: Hyperds) -> None:
    make_machine(bed, "far", nodeSelector={"zone": "moon"}, runPolicy="AlwaysOn")
    until(lambda: "didn't match Pod's node affinity/selector" in running(bed, "far"), 30)
    assert running(bed, "far").startswith("PodNotStarted Pod virt-launcher-far-")
    quota = {"hard": {"requests.memory": "600Mi"}}
    meta = {"name": "little", "namespace": "default"}
    bed.plane.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": quota})
    make_machine(bed, "large", memory={"size": "512Mi"}, runPolicy="AlwaysOn")
    until(lambda: running(bed, "large").startswith("QuotaExceeded The Pod cannot be made: "), 30)
    assert "exceeded quota: little" in running(bed, "large")
    bed.plane.kubectl("delete", "resourcequota/little")
    bed.plane.kubectl("delete", "vm/far", "vm/large", "--timeout=60s")
    until(lambda: not pod_of(bed, "far"), 30)
