"""Disks and images attached to a machine that runs, by attachments and by its spec, and detached again."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hyperd.controllers.machine.held import serial_of
from hyperd.errors import HyperdError, NotFound
from tests.host.machine.writer import Writer, device_of, told
from tests.host.node import Node, wait_until
from tests.host.running import (
    BOOT_SECONDS,
    Console,
    Hyperd,
    ImageServer,
    condition,
    disk,
    image,
    machine,
    operation,
)

Object = dict[str, Any]


def attachment(name: str, device: str, vm: str, *, kind: str = "VirtualDisk") -> Object:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachineBlockDeviceAttachment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"virtualMachineName": vm, "blockDeviceRef": {"kind": kind, "name": device}},
    }


@pytest.fixture
def name(hyperd: Hyperd) -> Iterator[str]:
    """A fresh name; machines, disks and attachments that begin with it are removed afterwards."""
    fresh = f"at{time.monotonic_ns() % 10**8}"
    yield fresh
    for word in ("vmbda", "vm", "vd", "vi"):
        for obj in hyperd.list(word, "default"):
            made = obj["metadata"]["name"]
            if made.startswith(fresh):
                with contextlib.suppress(NotFound):
                    hyperd.delete(word, made)
                hyperd.wait_gone(word, made)


def make(hyperd: Hyperd, name: str, **spec: object) -> Object:
    """A machine that runs and has booted, and a Ready disk ``<name>-data`` beside it."""
    hyperd.create(disk(name, image="guest"))
    hyperd.create(disk(f"{name}-data", size="16Mi"))
    hyperd.create(machine(name, name, **{"terminationGracePeriodSeconds": 0, **spec}))
    hyperd.wait_phase("vd", f"{name}-data", "Ready")
    vm = hyperd.wait_phase("vm", name, "Running")
    hyperd.wait_console(vm, "login:", timeout=2 * BOOT_SECONDS)
    return vm


def device(hyperd: Hyperd, name: str, of: str) -> Object:
    """What the machine's status says of a device; empty where it is not listed."""
    entries = hyperd.get("vm", name)["status"]["blockDeviceRefs"]
    return next((dict(entry) for entry in entries if entry["name"] == of), {})


def test_a_disk_is_attached_to_a_running_machine_grown_and_detached_again(hyperd: Hyperd, name: str) -> None:
    make(hyperd, name)
    data = f"{name}-data"
    serial = serial_of(hyperd.get("vd", data)["metadata"]["uid"])
    with Console(hyperd, name) as console:
        console.log_in()
        assert device_of(console, serial, there=False) == ""
        hyperd.create(attachment(name, data, name))
        attached = hyperd.wait_phase("vmbda", name, "Attached")
        assert attached["status"]["virtualMachineName"] == name
        assert {one["type"]: one["status"] for one in attached["status"]["conditions"]} == dict.fromkeys(
            ("BlockDeviceReady", "VirtualMachineReady", "DiskAttachmentCapacityAvailableType", "Attached"), "True"
        )
        assert device(hyperd, name, data) == {
            "kind": "VirtualDisk", "name": data, "size": "16Mi", "attached": True, "hotplugged": True,
            "target": "sdb", "virtualMachineBlockDeviceAttachmentName": name,
        }  # fmt: skip
        used = hyperd.wait("vd", data, lambda o: condition(o, "InUse")["status"] == "True")
        assert used["status"]["attachedToVirtualMachines"] == [{"name": name, "mounted": True}]
        where = device_of(console, serial)
        Writer.begun(console, where)
        hyperd.patch("vd", data, {"spec": {"persistentVolumeClaim": {"size": "32Mi"}}})
        hyperd.wait("vd", data, lambda o: o["status"]["capacity"] == "32Mi" and o["status"]["phase"] == "Ready")
        grown = f"grep -qx 65536 /sys/block/{where.removeprefix('/dev/')}/size"
        console.run(f"until {grown}; do sleep 0.2; done")  # it is told, and looks a moment later
        with pytest.raises(HyperdError, match="a disk cannot shrink"):
            hyperd.patch("vd", data, {"spec": {"persistentVolumeClaim": {"size": "16Mi"}}})
    # The console's session ends with the daemon; what runs in the guest does not.
    hyperd.kill()
    hyperd.start()
    hyperd.wait_phase("vmbda", name, "Attached")
    with Console(hyperd, name) as console:
        console.type("\r")
        console.expect("# ")
        writer = Writer(console)
        writer.go_on()
        assert writer.end() == ""
        hyperd.delete("vmbda", name)
        hyperd.wait_gone("vmbda", name)
        assert device_of(console, serial, there=False) == ""
    assert device(hyperd, name, data) == {}
    hyperd.wait("vd", data, lambda o: condition(o, "InUse")["status"] == "False")
    assert not hyperd.get("vm", name)["status"].get("restartAwaitingChanges")


def test_an_attachment_lasts_over_a_restart_and_waits_while_its_machine_is_off(hyperd: Hyperd, name: str) -> None:
    make(hyperd, name)
    data = f"{name}-data"
    hyperd.create(attachment(name, data, name))
    hyperd.wait_phase("vmbda", name, "Attached")
    before = device(hyperd, name, data)
    stop = hyperd.create(operation("Stop", name, force=True))
    hyperd.wait_phase("vmop", stop["metadata"]["name"], "Completed")
    waiting = hyperd.wait_phase("vmbda", name, "Pending")
    assert condition(waiting, "Attached")["reason"] == "NotAttached"
    assert condition(waiting, "VirtualMachineReady")["reason"] == "NotAttached"
    assert not device(hyperd, name, data)["attached"]
    start = hyperd.create(operation("Start", name))
    hyperd.wait_phase("vmop", start["metadata"]["name"], "Completed")
    hyperd.wait_phase("vmbda", name, "Attached")
    assert device(hyperd, name, data) == before


def test_a_device_is_attached_once(hyperd: Hyperd, name: str) -> None:
    make(hyperd, name)
    data = f"{name}-data"
    own = f"{name}-own"
    hyperd.create(attachment(own, name, name))
    assert condition(hyperd.wait_phase("vmbda", own, "Failed"), "Attached")["reason"] == "Conflict"
    hyperd.delete("vmbda", own)
    hyperd.wait_gone("vmbda", own)
    hyperd.create(attachment(name, data, name))
    with pytest.raises(HyperdError, match=f'is attached by VirtualMachineBlockDeviceAttachment "{name}" already'):
        hyperd.create(attachment(f"{name}-2", data, name))
    refs = [{"kind": "VirtualDisk", "name": one} for one in (name, data)]
    with pytest.raises(HyperdError, match="delete that first"):
        hyperd.patch("vm", name, {"spec": {"blockDeviceRefs": refs}})
    hyperd.wait_phase("vmbda", name, "Attached")
    # A disk is not taken from under its guest.
    hyperd.delete("vd", data)
    held = hyperd.wait_phase("vd", data, "Terminating")
    assert condition(held, "Terminating")["reason"] == "CleanupPending"
    hyperd.delete("vmbda", name)
    hyperd.wait_gone("vd", data)


def test_an_attachment_waits_for_its_machine_and_its_disk(hyperd: Hyperd, name: str) -> None:
    hyperd.create(attachment(name, f"{name}-data", name))
    waiting = hyperd.wait_phase("vmbda", name, "Pending")
    assert condition(waiting, "BlockDeviceReady")["message"] == f'VirtualDisk "{name}-data" does not exist.'
    assert condition(waiting, "VirtualMachineReady")["message"] == f'VirtualMachine "{name}" does not exist.'
    make(hyperd, name)
    hyperd.wait_phase("vmbda", name, "Attached")
    hyperd.delete("vm", name)
    hyperd.wait_gone("vm", name)
    hyperd.wait_phase("vmbda", name, "Pending")
    hyperd.delete("vmbda", name)
    hyperd.wait_gone("vmbda", name)


def test_the_spec_of_a_running_machine_gains_and_loses_a_disk_and_an_image(hyperd: Hyperd, name: str) -> None:
    vm = make(hyperd, name)
    data = f"{name}-data"
    serials = {
        word: serial_of(hyperd.get(word, of)["metadata"]["uid"]) for word, of in (("vd", data), ("vi", "guest"))
    }
    refs = [{"kind": "VirtualDisk", "name": name}]
    more = [*refs, {"kind": "VirtualDisk", "name": data}, {"kind": "VirtualImage", "name": "guest"}]
    with Console(hyperd, name) as console:
        console.log_in()
        hyperd.patch("vm", name, {"spec": {"blockDeviceRefs": more}})
        hyperd.wait(
            "vm", name, lambda o: [one["attached"] for one in o["status"]["blockDeviceRefs"]] == [True] * 3
        )
        writer = Writer.begun(console, device_of(console, serials["vd"]))
        image = device_of(console, serials["vi"])
        assert told(console.run(f"echo '<'$(cat /sys/block/{image.removeprefix('/dev/')}/ro)'>'")) == "1"
        hyperd.patch("vm", name, {"spec": {"blockDeviceRefs": more[:2]}})
        hyperd.wait("vm", name, lambda o: len(o["status"]["blockDeviceRefs"]) == 2)
        assert device_of(console, serials["vi"], there=False) == ""
        writer.go_on()
        assert writer.end() == ""
        hyperd.patch("vm", name, {"spec": {"blockDeviceRefs": refs}})
        hyperd.wait("vm", name, lambda o: len(o["status"]["blockDeviceRefs"]) == 1)
        assert device_of(console, serials["vd"], there=False) == ""
    vm = hyperd.get("vm", name)
    assert "restartAwaitingChanges" not in vm["status"]
    assert condition(vm, "AwaitingRestartToApplyConfiguration") == {}


def test_a_machine_without_paravirtualization_waits_with_its_spec_and_takes_attachments(
    hyperd: Hyperd, name: str
) -> None:
    make(hyperd, name, enableParavirtualization=False)
    data = f"{name}-data"
    hyperd.create(attachment(name, data, name))
    hyperd.wait_phase("vmbda", name, "Attached")
    serial = serial_of(hyperd.get("vd", data)["metadata"]["uid"])
    domain = f"{hyperd.instance}-{hyperd.get('vm', name)['metadata']['uid']}"
    assert serial in hyperd.node.virsh("dumpxml", domain)
    hyperd.delete("vmbda", name)
    hyperd.wait_gone("vmbda", name)
    refs = [{"kind": "VirtualDisk", "name": one} for one in (name, data)]
    hyperd.patch("vm", name, {"spec": {"blockDeviceRefs": refs}})
    waiting = hyperd.wait("vm", name, lambda o: o["status"].get("restartAwaitingChanges"))
    assert [one["path"] for one in waiting["status"]["restartAwaitingChanges"]] == ["blockDeviceRefs.1"]
    wait_until(lambda: not device(hyperd, name, data)["attached"], what="a disk that waits")


def test_an_iso_is_a_drive_that_comes_and_goes(hyperd: Hyperd, node: Node, images: ImageServer, name: str) -> None:
    make(hyperd, name)
    folder = node.make_dir()
    (folder / "hello").write_text("from the drive")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", images.folder / "a.iso", folder], check=True)
    hyperd.create(image(f"{name}-iso", f"{images.url}/a.iso"))
    iso = hyperd.wait_phase("vi", f"{name}-iso", "Ready")
    assert iso["status"]["cdrom"] is True
    hyperd.create(attachment(name, f"{name}-iso", name, kind="VirtualImage"))
    hyperd.wait_phase("vmbda", name, "Attached")
    with Console(hyperd, name) as console:
        console.log_in()
        console.run("while [ ! -e /dev/sr0 ]; do sleep 0.2; done")
        assert told(console.run("dd if=/dev/sr0 bs=2k 2>/dev/null | grep -c CD001 | sed 's/.*/<&>/'")) != "0"
        hyperd.delete("vmbda", name)
        hyperd.wait_gone("vmbda", name)
        console.run("while [ -e /sys/block/sr0 ]; do sleep 0.2; done")
    assert device(hyperd, name, f"{name}-iso") == {}
