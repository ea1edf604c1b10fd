"""NetworkPolicies of machines, by kubectl alone: on every way to a guest and from it, also while it moves.

The Pods' own network enforces nothing here, so all that holds is hyperd's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

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
    process_of,
    until,
)
from tests.cluster.nodes.movers import where

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_SHELL = "#!/bin/sh\nnc -ll -p 8 -e sh &\n"
_SERVICE, _FRIENDS = "10.97.0.50", "10.97.0.51"
_SECONDS = 30.0
_FRIEND, _STRANGER = ("default", "friend"), ("other", "stranger")
_MACHINE = ("default", "asker")


class Street:
    """Who asks whom: a guarded machine, another machine, and a Pod of each of two namespaces."""

    def __init__(self, hyperds: Hyperds) -> None:
        self.hyperds = hyperds
        self.bed = hyperds.bed

    @property
    def guarded(self) -> list[str]:
        """The machine's own address, its Pod's, and its Service's."""
        path = "{.status.ipAddress} {.status.virtualMachinePods[?(@.active==true)].name}"
        own, pod = get(self.bed, "vm/guarded", path).split()
        return [own, get(self.bed, f"pod/{pod}", "{.status.podIP}"), _SERVICE]

    def says(self, who: tuple[str, str], command: str) -> str:
        """What a shell there says to ``command``; who is guarded is asked by its own node, which always may."""
        namespace, name = who
        if name in ("friend", "stranger"):
            return self.bed.plane.kubectl("exec", "-n", namespace, name, "--", "sh", "-c", command)
        address = get(self.bed, f"vm/{name}", "{.status.ipAddress}")
        node = where(self.hyperds, name)
        return node.run(
            "timeout", "20", "busybox", "nc", "-w", "15", address, "8", stdin=f"{command}\nexit\n", rc=None
        )

    def reached(self, who: tuple[str, str], addresses: list[str], port: int = 80) -> list[str]:
        """Those of the addresses at which something answers."""
        ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2"
        each = "".join(f"({ask} {one} {port} | grep -q HTTP && echo at {one}) & " for one in addresses)
        said = self.says(who, f"{each} wait")
        return [one for one in addresses if f"at {one}\n" in said]

    def meets(self, who: tuple[str, str], expected: list[str], *, port: int = 80) -> None:
        """That somebody reaches these ways to the guarded machine, and no others."""
        reached = list[str]()

        def so() -> bool:
            nonlocal reached
            reached = self.reached(who, self.guarded, port)
            return reached == expected

        try:
            until(so, _SECONDS)
        except AssertionError:
            raise AssertionError(f"{who} reaches {reached} of {self.guarded} instead of {expected}") from None

    def admit(self, **spec: Any) -> None:
        """Have it be as the policy says."""
        meta = {"name": "guard", "namespace": "default"}
        whole = {"podSelector": {"matchLabels": {"app": "guarded"}}, **spec}
        self.bed.plane.apply(
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": whole}
        )


def _asking(namespace: str, name: str, node: str, **labels: str) -> dict[str, Any]:
    decent = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsUser": 65534}
    box = {
        "name": "box",
        "image": BOX,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo met >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
        "securityContext": {**decent, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [box]}
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _serves(hyperds: Hyperds, name: str) -> bool:
    address = get(hyperds.bed, f"vm/{name}", "{.status.ipAddress}")
    running = get(hyperds.bed, f"vm/{name}", "{.status.phase}") == "Running"
    return running and answers(where(hyperds, name), address)


def _service(name: str, address: str, port: int, **selector: str) -> dict[str, Any]:
    spec = {"clusterIP": address, "selector": selector, "ports": [{"port": 80, "targetPort": port}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def street(hyperds: Hyperds) -> Iterator[Street]:
    bed, found = hyperds.bed, Street(hyperds)
    for name in ("guarded", "asker"):
        make_machine(bed, name, provisioning={"type": "UserData", "userData": _SHELL})
        bed.plane.kubectl("label", f"vm/{name}", f"app={name}")
        source = {"type": "HTTP", "http": {"url": GUEST_URL}}
        make(bed, "VirtualDisk", name, persistentVolumeClaim={"size": "256Mi"}, dataSource=source)
    bed.plane.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other", "labels": {"side": "far"}}},
        _asking("default", "friend", hyperds.nodes[0].name, role="friend"),
        _asking("other", "stranger", hyperds.nodes[1].name),
        _service("guarded", _SERVICE, 80, app="guarded"),
        _service("friends", _FRIENDS, 8080, role="friend"),
    )
    for name in ("guarded", "asker"):
        until(partial(_serves, hyperds, name), START_SECONDS + BOOT_SECONDS)
    until(lambda: "up" in found.says(_MACHINE, "echo up") + found.says(("", "guarded"), "echo up"), BOOT_SECONDS)
    yield found
    bed.plane.kubectl("delete", "netpol", "--all", "-n", "default")
    bed.plane.kubectl("delete", "vm/guarded", "vd/guarded", "vm/asker", "vd/asker", "--timeout=90s")
    bed.plane.kubectl("delete", "service/guarded", "service/friends", "pod/friend", "--timeout=60s")
    bed.plane.kubectl("delete", "namespace/other", "--timeout=60s")


def test_without_a_policy_everybody_reaches_a_machine(street: Street) -> None:
    for who in (_FRIEND, _STRANGER, _MACHINE):
        street.meets(who, street.guarded)


def test_a_machine_that_is_isolated_is_reached_by_its_node_alone(street: Street) -> None:
    street.admit(policyTypes=["Ingress"])
    for who in (_FRIEND, _STRANGER, _MACHINE):
        street.meets(who, [])
    # Where it has begun a connection, it is answered.
    friend = get(street.bed, "pod/friend", "{.status.podIP}")
    assert street.reached(("", "guarded"), [friend], 8080) == [friend]


def test_who_is_let_in_is_named_by_labels_namespace_address_and_port(street: Street) -> None:
    street.admit(ingress=[{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}])
    street.meets(_FRIEND, street.guarded)
    street.meets(_STRANGER, [])
    street.meets(_MACHINE, [])
    # A machine is its Pod, and has two addresses.
    street.bed.plane.kubectl("label", "vm/asker", "role=friend")
    street.meets(_MACHINE, street.guarded)
    street.bed.plane.kubectl("label", "vm/asker", "role-")
    street.meets(_MACHINE, [])
    street.admit(ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"side": "far"}}}]}])
    street.meets(_STRANGER, street.guarded)
    street.meets(_FRIEND, [])
    machine = get(street.bed, "vm/asker", "{.status.ipAddress}")
    street.admit(ingress=[{"from": [{"ipBlock": {"cidr": f"{machine}/32"}}]}])
    street.meets(_MACHINE, street.guarded)
    street.meets(_STRANGER, [])
    street.admit(ingress=[{"ports": [{"port": 81, "endPort": 90}]}])
    street.meets(_STRANGER, [])
    street.admit(ingress=[{"ports": [{"port": 79, "endPort": 80}]}])
    street.meets(_STRANGER, street.guarded)


def test_whom_a_machine_may_ask_is_named_so_too(street: Street) -> None:
    bed = street.bed
    friend = get(bed, "pod/friend", "{.status.podIP}")
    stranger = bed.plane.kubectl("get", "pod/stranger", "-n", "other", "-o", "jsonpath={.status.podIP}").strip()
    guest = ("", "guarded")
    street.admit(policyTypes=["Egress"])
    until(lambda: not street.reached(guest, [friend, stranger], 8080), _SECONDS)
    assert street.reached(guest, [_FRIENDS]) == []
    street.admit(
        policyTypes=["Egress"],
        egress=[{"to": [{"podSelector": {"matchLabels": {"role": "friend"}}}], "ports": [{"port": 8080}]}],
    )
    until(lambda: street.reached(guest, [friend, stranger], 8080) == [friend], _SECONDS)
    until(lambda: street.reached(guest, [_FRIENDS]) == [_FRIENDS], _SECONDS)
    street.meets(_STRANGER, street.guarded)


def test_what_holds_is_mended_and_holds_while_the_machine_moves(street: Street) -> None:
    bed, hyperds = street.bed, street.hyperds
    street.admit(ingress=[{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}])
    street.meets(_FRIEND, street.guarded)
    source = where(hyperds, "guarded")
    launcher = process_of(source, "launcher", pod_of(bed, "guarded")["metadata"]["uid"])
    inside = ("nsenter", f"--net=/proc/{launcher}/ns/net", "nft")
    source.run(*inside, "flush", "ruleset")
    until(lambda: "_policy" in source.run(*inside, "list", "ruleset"), _SECONDS)
    street.meets(_FRIEND, street.guarded)
    street.meets(_STRANGER, [])
    address = street.guarded[0]
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} 80 | grep HTTP >>/dev/shm/met"
    street.says(_STRANGER, f"(while :; do {ask}; echo >>/dev/shm/asked; sleep 0.1; done) >/dev/null 2>&1 &")
    make(bed, "VirtualMachineOperation", "guarded-away", type="Evict", virtualMachineName="guarded")
    until(lambda: get(bed, "vmop/guarded-away", "{.status.phase}") == "Completed", 180)
    assert where(hyperds, "guarded") is not source
    until(lambda: get(bed, "vm/guarded", "{.status.virtualMachinePods[*].active}") == "true", 60)
    street.meets(_FRIEND, street.guarded)
    street.meets(_STRANGER, [])
    street.meets(_MACHINE, [])  # which is on the same node by now
    assert street.says(_STRANGER, "cat /dev/shm/met") == ""
    assert street.says(_STRANGER, "cat /dev/shm/asked")
