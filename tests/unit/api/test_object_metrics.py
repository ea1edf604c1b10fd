"""Dashboards of the reference find what they ask for: names, labels and values, also of quiet conditions."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from hyperd.api.stats.objects import samples_of
from hyperd.api.wire.metrics import render
from hyperd.resources import all as kinds
from hyperd.resources.schema.kind import Kind, Object
from tests.unit.controllers.world import running

OWN = 'name="a",namespace="shop",uid="u-1"'


def lines(kind: Kind, **parts: object) -> list[str]:
    obj: Object = {"metadata": {"name": "a", "namespace": "shop", "uid": "u-1"}, **parts}
    return [line for line in render(samples_of(kind, obj)).splitlines() if not line.startswith("#")]


def named(found: Iterable[str], name: str) -> list[str]:
    return [line for line in found if line.startswith(f"d8_virtualization_{name}{{")]


def machine(status: Object, **metadata: object) -> list[str]:
    spec = {
        "runPolicy": "Manual",
        "virtualMachineClassName": "generic",
        "cpu": {"cores": 4, "coreFraction": "25%"},
        "memory": {"size": "2Gi"},
    }
    meta = {"name": "a", "namespace": "shop", "uid": "u-1", **metadata}
    return lines(kinds.VIRTUAL_MACHINE, spec=spec, status=status, metadata=meta)


def condition(type_: str, status: str) -> Object:
    return {"type": type_, "status": status, "reason": "X", "lastTransitionTime": "2026-11-30T14:00:00Z"}


def test_a_machine_tells_what_it_has_and_what_it_wants() -> None:
    resources = {
        "cpu": {"cores": 2, "coreFraction": "10%", "runtimeOverhead": "100m"},
        "memory": {"size": "1Gi", "runtimeOverhead": "8Mi"},
    }
    found = machine({"phase": "Running", "nodeName": "n", "resources": resources})
    own = f'{{{OWN},node="n"}}'
    for name, value in {
        "cpu_cores": 2, "configuration_cpu_cores": 4, "cpu_core_fraction": 10,
        "configuration_cpu_core_fraction": 25,
        "configuration_cpu_runtime_overhead": 100, "configuration_memory_size_bytes": 2 << 30,
        "configuration_memory_runtime_overhead_bytes": 8 << 20, "configuration_applied": 1, "agent_ready": 0,
        "awaiting_restart_to_apply_configuration": 0, "firmware_up_to_date": 1, "labels": 1, "annotations": 1,
    }.items():  # fmt: skip
        assert named(found, f"virtualmachine_{name}") == [f"d8_virtualization_virtualmachine_{name}{own} {value}"]
    assert len(named(found, "virtualmachine_status_phase")) == 9
    assert f'd8_virtualization_virtualmachine_status_phase{{{OWN},node="n",phase="Running"}} 1' in found
    assert f'd8_virtualization_virtualmachine_status_phase{{{OWN},node="n",phase="Stopped"}} 0' in found
    policy = named(found, "virtualmachine_configuration_run_policy")
    assert [line for line in policy if line.endswith(" 1")] == [
        f'd8_virtualization_virtualmachine_configuration_run_policy{{{OWN},node="n",runPolicy="Manual"}} 1'
    ]
    assert f'd8_virtualization_virtualmachine_info{{{OWN},node="n",virtualmachineclass="generic"}} 1' in found
    assert not named(found, "virtualmachine_migratable")


@pytest.mark.parametrize(
    ("type_", "status", "metric", "value"),
    [
        ("AwaitingRestartToApplyConfiguration", "True", "awaiting_restart_to_apply_configuration", 1),
        ("ConfigurationApplied", "False", "configuration_applied", 0),
        ("AgentReady", "True", "agent_ready", 1),
        ("Migratable", "False", "migratable", 0),
        ("Migratable", "True", "migratable", 1),
    ],
)
def test_conditions_become_numbers(type_: str, status: str, metric: str, value: int) -> None:
    (line,) = named(machine({"conditions": [condition(type_, status)]}), f"virtualmachine_{metric}")
    assert line.endswith(f" {value}")


def test_labels_and_annotations_become_labels_and_manifests_do_not() -> None:
    found = machine(
        {"phase": "Pending"},
        labels={"app.kubernetes.io/partOf": 'a"b', "x-y": "1", "x_y": "2"},
        annotations={"kubectl.kubernetes.io/last-applied-configuration": "secret", "note": "n" * 1000},
    )
    (labels,) = named(found, "virtualmachine_labels")
    assert 'label_app_kubernetes_io_part_of="a\\"b"' in labels
    assert 'label_x_y_conflict1="1",label_x_y_conflict2="2"' in labels
    (annotations,) = named(found, "virtualmachine_annotations")
    assert "secret" not in annotations
    assert f'annotation_note="{"n" * 256}"' in annotations


def test_the_systems_namespace_is_nobodys_to_see() -> None:
    assert machine({"phase": "Running"}, namespace="hyperd-system") == []


def test_a_disk_tells_its_size_its_volume_and_who_uses_it() -> None:
    status = {
        "phase": "Ready", "capacity": "10Gi", "storageClassName": "fast",
        "target": {"persistentVolumeClaimName": "vd-u-1"},
        "attachedToVirtualMachines": [{"name": "old", "mounted": False}, {"name": "web", "mounted": True}],
        "conditions": [condition("InUse", "True")],
    }  # fmt: skip
    found = lines(kinds.VIRTUAL_DISK, status=status)
    volume = 'storageclass="fast",persistentvolumeclaim="vd-u-1"'
    assert f"d8_virtualization_virtualdisk_capacity_bytes{{{OWN}}} {10 << 30}" in found
    assert f"d8_virtualization_virtualdisk_info{{{OWN},{volume}}} 1" in found
    assert f'd8_virtualization_virtualdisk_status_in_use{{{OWN},virtualmachine="web"}} 1' in found
    assert f'd8_virtualization_virtualdisk_status_phase{{{OWN},phase="Ready"}} 1' in found


def test_a_class_tells_its_nodes_and_an_operation_its_times() -> None:
    spec: Object = {"cpu": {"type": "Host"}}
    meta = {"name": "c", "uid": "u-2"}
    found = lines(
        kinds.VIRTUAL_MACHINE_CLASS, metadata=meta, spec=spec, status={"phase": "Ready", "availableNodes": ["n"]}
    )
    assert 'd8_virtualization_virtualmachineclass_info{name="c",uid="u-2",type="Host"} 1' in found
    assert 'd8_virtualization_virtualmachineclass_available_node{name="c",uid="u-2",node="n"} 1' in found
    status = {"phase": "InProgress", "conditions": [condition(one, "True") for one in ("SignalSent", "Completed")]}
    found = lines(
        kinds.VIRTUAL_MACHINE_OPERATION, spec={"type": "Stop", "virtualMachineName": "web"}, status=status
    )
    own = f'{OWN},type="Stop",virtualmachine="web"'
    started = f"d8_virtualization_virtualmachineoperation_started_timestamp{{{own}}} 1796047200"
    assert started in found
    assert not named(found, "virtualmachineoperation_finished_timestamp")
    assert f'd8_virtualization_virtualmachineoperation_status_phase{{{own},phase="InProgress"}} 1' in found


async def test_a_daemon_tells_of_all_that_it_has() -> None:
    async with running() as world:
        await world.make()
        text = await world._daemon._api.metrics.text()
    for plural in ("virtualmachine", "virtualdisk", "virtualmachineclass"):
        assert f"\n# TYPE d8_virtualization_{plural}_status_phase gauge\n" in text
    assert "process_open_fds" in text
    assert "hyperd_queue_depth" in text
