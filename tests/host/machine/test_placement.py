"""Where machines and disks may be on one machine: what class, node and StorageClass say, and what is said then."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hyperd.resources.core.storage_class import PROVISIONER
from tests.host.running import Hyperd, Object, condition, disk, machine, operation

DEFAULT = "storageclass.kubernetes.io/is-default-class"
_numbers = itertools.count(time.monotonic_ns() % 10**6)


@pytest.fixture
def made(hyperd: Hyperd) -> Iterator[list[tuple[str, str]]]:
    """(word, name) of what the test makes, removed afterwards, the first made last."""
    found: list[tuple[str, str]] = []
    yield found
    for word, name in reversed(found):
        if hyperd.find(word, name) is not None:
            hyperd.delete(word, name)
            hyperd.wait_gone(word, name)


def new(hyperd: Hyperd, made: list[tuple[str, str]], word: str, obj: Object) -> str:
    name = obj["metadata"]["name"]
    hyperd.create(obj)
    made.append((word, name))
    return str(name)


def fresh(word: str) -> str:
    return f"{word}-{next(_numbers)}"


def storage(provisioner: str = PROVISIONER, *, default: bool = False, **fields: Any) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": fresh("sc"), "annotations": {DEFAULT: "true"} if default else {}},
        "provisioner": provisioner,
        **fields,
    }


def machine_class(cpu: Object, **spec: Any) -> Object:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha3",
        "kind": "VirtualMachineClass",
        "metadata": {"name": fresh("c")},
        "spec": {"cpu": cpu, **spec},
    }


def test_a_cordoned_node_and_a_class_for_another_start_nothing_and_stop_nothing(
    hyperd: Hyperd, made: list[tuple[str, str]]
) -> None:
    running = new(hyperd, made, "vd", disk(fresh("d"), size="8Mi"))
    new(hyperd, made, "vm", machine(running, running, terminationGracePeriodSeconds=0))
    hyperd.wait_phase("vm", running, "Running")
    elsewhere = new(
        hyperd, made, "vmclass", machine_class({"type": "Host"}, nodeSelector={"matchLabels": {"zone": "b"}})
    )
    waiting = new(hyperd, made, "vd", disk(fresh("d"), size="8Mi"))
    hyperd.wait_phase("vd", waiting, "Ready")
    spec = {"virtualMachineClassName": elsewhere, "terminationGracePeriodSeconds": 0}
    new(hyperd, made, "vm", machine(waiting, waiting, **spec))
    told = f'does not match the nodeSelector of VirtualMachineClass "{elsewhere}"'
    off = hyperd.wait("vm", waiting, lambda o: told in condition(o, "Running").get("message", ""))
    assert (off["status"]["phase"], condition(off, "Running")["reason"]) == ("Pending", "PodNotStarted")

    hyperd.patch("node", "node", {"metadata": {"labels": {"zone": "b"}}, "spec": {"unschedulable": True}})
    try:
        hyperd.wait("vm", waiting, lambda o: "is cordoned" in condition(o, "Running").get("message", ""))
        late = new(hyperd, made, "vd", disk(fresh("d"), size="8Mi"))
        hyperd.wait("vd", late, lambda o: "is cordoned" in condition(o, "Ready").get("message", ""))
        assert hyperd.get("vm", running)["status"]["phase"] == "Running"
    finally:
        hyperd.patch("node", "node", {"spec": {"unschedulable": None}})
    hyperd.wait_phase("vm", waiting, "Running")
    hyperd.wait_phase("vd", late, "Ready")
    hyperd.patch("node", "node", {"metadata": {"labels": {"zone": None}}})
    hyperd.create(operation("Restart", waiting, force=True))
    hyperd.wait("vm", waiting, lambda o: told in condition(o, "Running").get("message", ""))


@pytest.mark.parametrize(
    ("cpu", "told"),
    [
        ({"type": "Model", "model": "Nonesuch"}, 'No node knows the processor model "Nonesuch": known are '),
        ({"type": "Model", "model": "nehalem"}, "did you mean Nehalem"),
        ({"type": "Features", "features": ["aes", "avx1024"]}, 'No node knows the processor feature "avx1024"'),
        ({"type": "Model", "model": "EPYC"}, ""),
        ({"type": "Features", "features": ["avx512f"]}, ""),
        ({"type": "Host"}, ""),
    ],
    ids=["model", "case", "feature", "stand-in model", "stand-in feature", "host"],
)
def test_a_processor_that_nothing_has_is_not_ready(
    hyperd: Hyperd, made: list[tuple[str, str]], cpu: Object, told: str
) -> None:
    name = new(hyperd, made, "vmclass", machine_class(cpu))
    found = hyperd.wait("vmclass", name, lambda o: condition(o, "Ready"))
    ready = condition(found, "Ready")
    assert told in ready["message"]
    assert (found["status"]["phase"], ready["status"]) == (("Pending", "False") if told else ("Ready", "True"))
    if told:
        assert ready["reason"] == "NoSuitableNodesFound"
        assert found["status"]["availableNodes"] == []


@pytest.mark.parametrize(
    ("class_", "phase", "told"),
    [
        (storage(), "Ready", ""),
        (storage("x.y"), "Pending", 'the provisioner "x.y"'),
        (storage(reclaimPolicy="Retain"), "Pending", "reclaimPolicy Retain"),
        (storage(volumeBindingMode="Immediate"), "Ready", ""),
        (storage(volumeBindingMode="WaitForFirstConsumer"), "WaitForFirstConsumer", "once a virtual machine uses"),
        (
            storage(allowedTopologies=[{"matchLabelExpressions": [{"key": "zone", "values": ["q"]}]}]),
            "Pending",
            "allowedTopologies",
        ),
    ],
    ids=["plain", "provisioner", "retain", "immediate", "waiting", "topology"],
)
def test_a_storage_class_decides_whether_and_when_a_volume_is_made(
    hyperd: Hyperd, made: list[tuple[str, str]], class_: Object, phase: str, told: str
) -> None:
    name = new(hyperd, made, "sc", {**class_, "metadata": {"name": fresh("sc")}})
    obj = disk(fresh("d"), size="8Mi")
    obj["spec"]["persistentVolumeClaim"]["storageClassName"] = name
    found = new(hyperd, made, "vd", obj)
    shown = hyperd.wait_phase("vd", found, phase)
    assert told in condition(shown, "Ready").get("message", "")
    assert shown["status"]["storageClassName"] == name
    if phase == "Pending" and told != "allowedTopologies":
        assert condition(shown, "Ready")["reason"] == "StorageClassIsNotReady"
        assert condition(shown, "StorageClassReady")["reason"] == "StorageClassNotReady"
    if phase == "WaitForFirstConsumer":
        new(hyperd, made, "vm", machine(found, found, terminationGracePeriodSeconds=0))
        hyperd.wait_phase("vd", found, "Ready")
        hyperd.wait_phase("vm", found, "Running")


def test_the_newest_marked_class_is_the_default_and_without_one_a_disk_waits(
    hyperd: Hyperd, made: list[tuple[str, str]]
) -> None:
    other = new(hyperd, made, "sc", storage(default=True))
    found = new(hyperd, made, "vd", disk(fresh("d"), size="8Mi"))
    assert hyperd.wait_phase("vd", found, "Ready")["status"]["storageClassName"] == other
    hyperd.patch("sc", other, {"metadata": {"annotations": {DEFAULT: None}}})
    hyperd.patch("sc", "local", {"metadata": {"annotations": {DEFAULT: "false"}}})
    try:
        none = new(hyperd, made, "vd", disk(fresh("d"), size="8Mi"))
        waits = hyperd.wait_phase("vd", none, "Pending")
        assert "There is no default StorageClass" in condition(waits, "Ready")["message"]
        assert "storageClassName" not in waits["status"]
        assert hyperd.get("vd", found)["status"]["storageClassName"] == other, "what is made stays what it is"
    finally:
        hyperd.patch("sc", "local", {"metadata": {"annotations": {DEFAULT: "true"}}})
    assert hyperd.wait_phase("vd", none, "Ready")["status"]["storageClassName"] == "local"


def test_a_disk_grows_only_where_its_class_lets_it(hyperd: Hyperd, made: list[tuple[str, str]]) -> None:
    name = new(hyperd, made, "sc", storage())
    obj = disk(fresh("d"), size="8Mi")
    obj["spec"]["persistentVolumeClaim"]["storageClassName"] = name
    found = new(hyperd, made, "vd", obj)
    hyperd.wait_phase("vd", found, "Ready")
    bigger = {"spec": {"persistentVolumeClaim": {"size": "16Mi"}}}
    with pytest.raises(Exception, match="does not let its volumes grow"):
        hyperd.patch("vd", found, bigger)
    hyperd.patch("sc", name, {"allowVolumeExpansion": True})
    hyperd.patch("vd", found, bigger)
    hyperd.wait("vd", found, lambda o: o["status"].get("capacity") == "16Mi")
