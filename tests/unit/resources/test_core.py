"""Core kinds show what kubectl's own printers show."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.resources.core import kinds as core
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.structural import subschema

WIDE = 1


def cells(kind: Kind, obj: Object) -> dict[str, Any]:
    """The computed cells of a kind by column."""
    return {column.name: column.cell(obj) for column in kind.columns if column.cell is not None}


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        (core.NAMESPACE, "Name Status Age"),
        (core.SECRET, "Name Type Data Age"),
        (core.CONFIG_MAP, "Name Data Age"),
        (core.NODE, "Name Status Roles Age Version"),
        (core.EVENT, "Last Seen Type Reason Object Message"),
        (core.LEASE, "Name Holder Age"),
        (core.STORAGE_CLASS, "Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion Age"),
        (core.SERVICE, "Name Type Cluster-IP External-IP Port(s) Age"),
        (core.POD, "Name Ready Status Restarts Age"),
    ],
    ids=lambda value: value.kind if isinstance(value, Kind) else None,
)
def test_the_columns_are_kubectls(kind: Kind, header: str) -> None:
    assert " ".join(column.name for column in kind.columns if column.priority < WIDE) == header


def test_keys_of_secrets_are_counted() -> None:
    assert cells(core.SECRET, {"data": {"a": "", "b": ""}}) == {"Data": 2}
    assert cells(core.CONFIG_MAP, {"data": {"a": ""}, "binaryData": {"b": ""}}) == {"Data": 2}
    assert cells(core.SECRET, {}) == {"Data": 0}


def test_a_node_shows_whether_it_takes_work() -> None:
    node: Object = {
        "metadata": {
            "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}
        },
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        },
    }
    assert cells(core.NODE, node) == {
        "Status": "NotReady,SchedulingDisabled",
        "Roles": "control-plane,worker",
        "Internal-IP": "10.0.0.1",
        "External-IP": "<none>",
    }
    assert cells(core.NODE, {})["Status"] == "Unknown"


def test_an_event_shows_when_it_last_happened_in_each_of_its_forms() -> None:
    event: Object = {
        "involvedObject": {"kind": "VirtualMachine", "name": "web"},
        "source": {"component": "hyperd", "host": "node"},
        "message": " Started. \n",
        "firstTimestamp": "1",
        "lastTimestamp": "2",
        "count": 3,
    }
    assert cells(core.EVENT, event) == {
        "Last Seen": "2",
        "Object": "virtualmachine/web",
        "Source": "hyperd, node",
        "Message": "Started.",
        "First Seen": "1",
        "Count": 3,
    }
    assert cells(core.EVENT, {"series": {"lastObservedTime": "4", "count": 9}})["Last Seen"] == "4"
    assert cells(core.EVENT, {"eventTime": "5"})["First Seen"] == "5"
    assert cells(core.EVENT, {})["Last Seen"] is None


def test_the_default_storage_class_is_marked() -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    shown = cells(core.STORAGE_CLASS, {"metadata": {"name": "local", "annotations": annotations}})
    assert shown == {"Name": "local (default)", "AllowVolumeExpansion": False}


def test_a_service_shows_its_ports() -> None:
    service: Object = {
        "spec": {
            "ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "nodePort": 30053}],
            "selector": {"a": "b"},
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    }
    assert cells(core.SERVICE, service) == {
        "External-IP": "192.0.2.1",
        "Port(s)": "80/TCP,53:30053/UDP",
        "Selector": "a=b",
    }
    assert cells(core.SERVICE, {}) == {"External-IP": "<none>", "Port(s)": "<none>", "Selector": "<none>"}


def test_pods_and_volumes_show_their_state() -> None:
    pod: Object = {
        "spec": {"containers": [{}, {}]},
        "status": {"phase": "Running", "containerStatuses": [{"ready": True, "restartCount": 2}]},
    }
    assert cells(core.POD, pod) == {"Ready": "1/2", "Status": "Running", "Restarts": "2"}
    pod["metadata"] = {"deletionTimestamp": "now"}
    assert cells(core.POD, pod)["Status"] == "Terminating"
    volume: Object = {"spec": {"accessModes": ["ReadWriteOnce"], "claimRef": {"namespace": "n", "name": "c"}}}
    assert cells(core.PERSISTENT_VOLUME, volume) == {"Access Modes": "RWO", "Claim": "n/c"}
    assert cells(core.PERSISTENT_VOLUME_CLAIM, {}) == {"Access Modes": ""}


def test_pods_and_volumes_can_only_be_read() -> None:
    for kind in (core.POD, core.PERSISTENT_VOLUME, core.PERSISTENT_VOLUME_CLAIM):
        assert kind.verbs == ("get", "list", "watch")


def test_lists_and_maps_of_core_kinds_are_applied_as_in_kubernetes() -> None:
    ports = subschema(core.SERVICE.schema, "spec.ports") or {}
    assert (ports["x-kubernetes-list-type"], ports["x-kubernetes-list-map-keys"]) == ("map", ["port", "protocol"])
    assert (subschema(core.SERVICE.schema, "spec.selector") or {})["x-kubernetes-map-type"] == "atomic"
    for kind, path in (
        (core.NODE, "status.conditions"),
        (core.NODE, "status.addresses"),
        (core.NAMESPACE, "status.conditions"),
    ):
        assert (subschema(kind.schema, path) or {})["x-kubernetes-list-map-keys"] == ["type"]
    assert (subschema(core.NAMESPACE.schema, "spec.finalizers") or {})["x-kubernetes-list-type"] == "atomic"
