"""The addresses of machines: leased, kept by who uses them, changed at a restart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from hyperd.resources.values import names
from tests.host.node import Node
from tests.host.running import Hyperd, disk, machine, operation

Object = dict[str, Any]


@pytest.fixture
def name(hyperd: Hyperd) -> Iterator[str]:
    """A fresh name; what has it is removed afterwards."""
    fresh = f"ip{time.monotonic_ns() % 10**8}"
    yield fresh
    for word in ("vm", "vd", "vmip"):
        if hyperd.find(word, fresh) is not None:
            hyperd.delete(word, fresh)
            hyperd.wait_gone(word, fresh)


def address(name: str) -> Object:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachineIPAddress",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "Auto"},
    }


def answers(node: Node, ip: str) -> bool:
    return node.exec(["ping", "-c", "1", "-W", "5", ip], check=False).returncode == 0


def test_a_running_machine_keeps_its_address_until_its_restart(hyperd: Hyperd, node: Node, name: str) -> None:
    hyperd.create(disk(name, image="guest"))
    hyperd.create(machine(name, name, terminationGracePeriodSeconds=0))
    vm = hyperd.wait_phase("vm", name, "Running")
    hyperd.wait_console(vm, "login:")
    old, old_name = vm["status"]["ipAddress"], vm["status"]["virtualMachineIPAddressName"]
    other = f"{name}-ip"
    hyperd.create(address(other))
    new = hyperd.wait("vmip", other, lambda o: (o.get("status") or {}).get("address"))["status"]["address"]
    hyperd.patch("vm", name, {"spec": {"virtualMachineIPAddressName": other}})
    waiting = hyperd.wait("vm", name, lambda o: o.get("status", {}).get("restartAwaitingChanges"))
    assert (waiting["status"]["ipAddress"], waiting["status"]["virtualMachineIPAddressName"]) == (old, old_name)
    assert answers(node, old)
    assert hyperd.get("vmip", old_name)["status"]["phase"] == "Attached"
    restart = hyperd.create(operation("Restart", name, force=True))
    hyperd.wait_phase("vmop", restart["metadata"]["name"], "Completed", timeout=90)
    vm = hyperd.wait("vm", name, lambda o: o["status"].get("ipAddress") == new)
    hyperd.wait_console(vm, f"IP={new}")
    assert answers(node, new)
    assert not answers(node, old)


def test_an_address_in_use_outlives_its_deletion(hyperd: Hyperd, name: str) -> None:
    hyperd.create(disk(name, image="guest"))
    ip = f"{name}-ip"
    hyperd.create(address(ip))
    hyperd.create(machine(name, name, virtualMachineIPAddressName=ip, terminationGracePeriodSeconds=0))
    hyperd.wait_phase("vm", name, "Running")
    hyperd.patch("vm", name, {"spec": {"virtualMachineIPAddressName": None}})
    hyperd.wait("vm", name, lambda o: o.get("status", {}).get("restartAwaitingChanges"))
    hyperd.delete("vmip", ip)
    held = hyperd.get("vmip", ip)
    assert held["metadata"]["deletionTimestamp"]
    assert held["status"]["virtualMachineName"] == name
    hyperd.delete("vm", name)
    hyperd.wait_gone("vmip", ip)


def test_a_lease_gets_its_label_back(hyperd: Hyperd, name: str) -> None:
    vmip = hyperd.create(address(name))
    bound = hyperd.wait("vmip", name, lambda o: (o.get("status") or {}).get("phase") == "Bound")
    assert [(c["type"], c["status"], c["reason"]) for c in bound["status"]["conditions"]] == [
        ("Bound", "True", "Bound"),
        ("Attached", "False", "VirtualMachineNotFound"),
    ]
    lease = f"ip-{bound['status']['address'].replace('.', '-')}"
    hyperd.patch("vmipl", lease, {"metadata": {"labels": None}})
    marked = hyperd.wait("vmipl", lease, lambda o: o["metadata"].get("labels"))
    assert marked["metadata"]["labels"] == {names.VMIP_UID_LABEL: vmip["metadata"]["uid"]}
