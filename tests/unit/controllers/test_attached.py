"""Which block devices a machine shows, and which of them its instance holds."""

from __future__ import annotations

from dataclasses import replace

from hyperd.controllers import usage
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.attached import device_entries
from hyperd.controllers.machine.held import serial_of
from hyperd.hypervisor.state import DomainDisk, DomainInfo, DomainState
from hyperd.resources.all import VIRTUAL_DISK
from tests.parts import Part

DISKS = {name: {"metadata": {"uid": f"uid-{name}"}, "status": {"capacity": "64Mi"}} for name in ("root", "data")}


def source(kind: str, name: str) -> Part | None:
    return DISKS.get(name) if kind == "VirtualDisk" else None


def machine(*names: str) -> Part:
    refs = [{"kind": "VirtualDisk", "name": name} for name in names]
    return {"metadata": {"namespace": "default", "name": "vm"}, "spec": {"blockDeviceRefs": refs}}


def running(*names: str) -> DomainInfo:
    spec = machine(*names)["spec"]
    return DomainInfo(
        uid="vm-uid",
        namespace="default",
        vm_name="vm",
        generation=1,
        applied=applied.Applied({"blockDeviceRefs": spec["blockDeviceRefs"]}).encode(),
        state=DomainState.RUNNING,
        reason="booted",
        persistent=True,
        disks=tuple(
            DomainDisk(f"sd{chr(97 + index)}", serial_of(f"uid-{name}")) for index, name in enumerate(names)
        ),
    )


def test_a_running_machine_shows_the_targets_that_libvirt_tells() -> None:
    assert device_entries(machine("root"), running("root"), source) == [
        {"kind": "VirtualDisk", "name": "root", "size": "64Mi", "attached": True, "target": "sda"}
    ]


def test_a_disk_put_before_the_others_is_not_attached_before_the_restart() -> None:
    root, data = device_entries(machine("data", "root"), running("root"), source)
    assert (root["name"], root["attached"], root["target"]) == ("root", True, "sda")
    assert (data["name"], data["attached"], "target" in data) == ("data", False, False)


def test_a_disk_taken_out_of_the_spec_stays_held_until_the_restart() -> None:
    shown = device_entries(machine("data"), running("root", "data"), source)
    assert [(entry["name"], entry["attached"]) for entry in shown] == [("root", True), ("data", True)]
    vm = machine("data") | {"status": {"phase": "Running", "blockDeviceRefs": shown}}
    assert usage.mounts(vm, VIRTUAL_DISK, "root")
    assert "VirtualDisk/default/root" in usage.devices_of(vm)


def test_a_disk_made_anew_under_an_old_name_is_not_the_attached_one() -> None:
    other = {"metadata": {"uid": "uid-other"}, "status": {"capacity": "1Gi"}}
    (shown,) = device_entries(machine("root"), running("root"), lambda kind, name: other)
    assert shown["attached"] is False


def test_a_machine_that_is_off_holds_nothing() -> None:
    off = replace(running("root"), state=DomainState.SHUTOFF)
    assert [entry["attached"] for entry in device_entries(machine("root"), off, source)] == [False]
    missing = device_entries(machine("gone"), None, source)
    assert missing == [{"kind": "VirtualDisk", "name": "gone", "size": "", "attached": False}]


def test_a_machine_that_starts_holds_its_disks_already() -> None:
    refs = device_entries(machine("root"), None, source)
    starting: Part = {"status": {"phase": "Starting", "blockDeviceRefs": refs}}
    pending: Part = {"status": {"phase": "Pending", "blockDeviceRefs": refs}}
    assert usage.mounts(starting, VIRTUAL_DISK, "root")
    assert not usage.mounts(pending, VIRTUAL_DISK, "root")
