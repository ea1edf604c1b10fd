"""From an image to a login prompt, and through every kind of stop, start and change."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hyperd.resources.values.names import CLOUD_INIT_SECRET_TYPE, SYSPREP_SECRET_TYPE
from tests.host.machine.conftest import both_homes
from tests.host.node import Node, wait_until
from tests.host.running import BOOT_SECONDS, Console, Hyperd, condition, disk, forwarded, machine, operation

Object = dict[str, Any]


@pytest.fixture
def name(hyperd: Hyperd) -> Iterator[str]:
    """A fresh name; the machine and disk of that name are removed afterwards."""
    fresh = f"vm{time.monotonic_ns() % 10**8}"
    yield fresh
    for word in ("vm", "vd"):
        if hyperd.find(word, fresh) is not None:
            if word == "vm":
                hyperd.patch("vm", fresh, {"spec": {"terminationGracePeriodSeconds": 0}})
            hyperd.delete(word, fresh)
            hyperd.wait_gone(word, fresh)


def make(hyperd: Hyperd, name: str, **spec: object) -> Object:
    hyperd.create(disk(name, image="guest"))
    hyperd.create(machine(name, name, **spec))
    return hyperd.wait_phase("vm", name, "Running")


def qemu_pid(node: Node, vm: Object, hyperd: Hyperd) -> int:
    """The pid of the machine's QEMU; 0 while it has none."""
    path = f"/run/libvirt/qemu/{hyperd.instance}-{vm['metadata']['uid']}.pid"
    return int(node.exec(["cat", path], check=False).stdout or 0)


@both_homes
def test_a_machine_boots_to_a_login_prompt_and_answers_on_its_address(
    hyperd: Hyperd, node: Node, name: str
) -> None:
    vm = make(hyperd, name)
    assert vm["status"]["nodeName"] == "node"
    assert vm["status"]["blockDeviceRefs"][0]["attached"] is True
    assert "emulated" in condition(vm, "Running")["message"]
    hyperd.wait_console(vm, "login:")
    address = vm["status"]["ipAddress"]
    hyperd.wait_console(vm, f"IP={address}")
    assert node.exec(["ping", "-c", "1", "-W", "5", address]).returncode == 0
    answer, code = forwarded(hyperd, name, 80, b"GET / HTTP/1.0\r\n\r\n")
    assert (answer.startswith(b"HTTP/1.1 200 OK"), code) == (True, 1000)
    root = hyperd.get("vd", name)["status"]
    assert root["attachedToVirtualMachines"] == [{"name": name, "mounted": True}]
    assert set(root["stats"]["creationDuration"]) == {"waitingForDependencies", "totalProvisioning"}


@both_homes
def test_a_machine_that_asks_for_more_than_the_node_has_says_what_lacks(hyperd: Hyperd, name: str) -> None:
    hyperd.create(disk(name, image="guest"))
    hyperd.create(machine(name, name, cpu={"cores": 248}, memory={"size": "900Gi"}))
    waiting = hyperd.wait("vm", name, lambda vm: "left" in condition(vm, "Running").get("message", ""))
    told = condition(waiting, "Running")
    assert (waiting["status"]["phase"], told["reason"]) == ("Pending", "PodNotStarted")
    assert "of CPU left for virtual machines, this one needs 248 cores" in told["message"]
    assert "of memory left for virtual machines, this one needs 902" in told["message"]
    hyperd.patch("vm", name, {"spec": {"cpu": {"cores": 1}, "memory": {"size": "128Mi"}}})
    hyperd.wait_phase("vm", name, "Running")


@both_homes
def test_a_class_finds_its_processor_and_gives_it(hyperd: Hyperd, node: Node, name: str) -> None:
    hyperd.create(disk(name, image="guest"))
    sized = {"cores": 1, "coreFraction": "100%"}
    hyperd.create(machine(name, name, virtualMachineClassName=name, cpu=sized, terminationGracePeriodSeconds=0))
    waiting = hyperd.wait("vm", name, lambda o: condition(o, "SizingPolicyMatched"))
    assert condition(waiting, "SizingPolicyMatched")["reason"] == "VirtualMachineClassNotFound"
    assert condition(waiting, "VirtualMachineClassReady")["status"] == "False"
    spec = {"cpu": {"type": "Discovery"}}
    group = "virtualization.deckhouse.io/v1alpha3"
    hyperd.create(
        {"apiVersion": group, "kind": "VirtualMachineClass", "metadata": {"name": name}, "spec": spec},
    )
    found = hyperd.wait_phase("vmclass", name, "Ready")
    assert condition(found, "Discovered")["reason"] == "DiscoverySucceeded"
    features = found["status"]["cpuFeatures"]["enabled"]
    assert {"sse2", "syscall"} <= set(features)
    vm = hyperd.wait_phase("vm", name, "Running")
    assert condition(vm, "VirtualMachineClassReady")["status"] == "True"
    given = node.virsh("dumpxml", f"{hyperd.instance}-{vm['metadata']['uid']}")
    assert "<feature policy='require' name='sse2'/>" in given
    hyperd.delete("vmclass", name)
    held = hyperd.wait_phase("vmclass", name, "Terminating")
    assert f"default/{name}" in condition(held, "InUse")["message"]
    hyperd.delete("vm", name)
    hyperd.wait_gone("vmclass", name)


@both_homes
def test_a_guest_that_powers_off_stays_stopped_until_it_is_started(hyperd: Hyperd, name: str) -> None:
    vm = make(hyperd, name)
    hyperd.wait_console(vm, "login:")
    with Console(hyperd, name) as console:
        console.log_in()
        console.type("poweroff\r")
        stopped = hyperd.wait_phase("vm", name, "Stopped")
    assert condition(stopped, "Running")["status"] == "False"
    assert "AgentReady" not in [c["type"] for c in stopped["status"]["conditions"]]
    op = hyperd.create(operation("Start", name))
    hyperd.wait_phase("vmop", op["metadata"]["name"], "Completed")
    assert hyperd.get("vm", name)["status"]["phase"] == "Running"


def test_a_guest_under_always_on_comes_back_from_a_power_off(hyperd: Hyperd, node: Node, name: str) -> None:
    vm = make(hyperd, name, runPolicy="AlwaysOn")
    hyperd.wait_console(vm, "login:")
    before = qemu_pid(node, vm, hyperd)
    with Console(hyperd, name) as console:
        console.log_in()
        console.type("poweroff\r")
        hyperd.wait(
            "vm",
            name,
            lambda o: (
                o.get("status", {}).get("phase") == "Running" and qemu_pid(node, vm, hyperd) not in (0, before)
            ),
        )
    failed = hyperd.create(operation("Stop", name))
    op = hyperd.wait_phase("vmop", failed["metadata"]["name"], "Failed")
    assert condition(op, "Completed")["reason"] == "NotApplicableForVirtualMachineRunPolicy"


def test_stop_asks_the_guest_and_restart_makes_a_new_instance(hyperd: Hyperd, node: Node, name: str) -> None:
    vm = make(hyperd, name)
    hyperd.wait_console(vm, "login:")
    before = qemu_pid(node, vm, hyperd)
    restart = hyperd.create(operation("Restart", name))
    hyperd.wait_phase("vmop", restart["metadata"]["name"], "Completed", timeout=90)
    assert qemu_pid(node, vm, hyperd) != before
    assert "GOODBYE" in hyperd.console_log(vm)
    stop = hyperd.create(operation("Stop", name, force=True))
    hyperd.wait_phase("vmop", stop["metadata"]["name"], "Completed")
    assert hyperd.get("vm", name)["status"]["phase"] == "Stopped"


def test_a_reboot_inside_the_guest_applies_what_waits(hyperd: Hyperd, node: Node, name: str) -> None:
    vm = make(hyperd, name)
    hyperd.wait_console(vm, "login:")
    before = qemu_pid(node, vm, hyperd)
    hyperd.patch("vm", name, {"spec": {"memory": {"size": "160Mi"}}})
    waiting = hyperd.wait("vm", name, lambda o: o.get("status", {}).get("restartAwaitingChanges"))
    assert waiting["status"]["restartAwaitingChanges"] == [
        {"operation": "replace", "path": "memory.size", "currentValue": "128Mi", "desiredValue": "160Mi"}
    ]
    assert condition(waiting, "AwaitingRestartToApplyConfiguration")["status"] == "True"
    assert waiting["status"]["resources"]["memory"]["size"] == "128Mi"
    with Console(hyperd, name) as console:
        console.log_in()
        console.type("reboot\r")
        done = hyperd.wait(
            "vm",
            name,
            lambda o: (
                o.get("status", {}).get("phase") == "Running" and not o["status"].get("restartAwaitingChanges")
            ),
        )
    assert done["status"]["resources"]["memory"]["size"] == "160Mi"
    assert qemu_pid(node, vm, hyperd) != before


def test_a_reboot_without_pending_changes_keeps_the_same_qemu(hyperd: Hyperd, node: Node, name: str) -> None:
    vm = make(hyperd, name)
    hyperd.wait_console(vm, "login:")
    before = qemu_pid(node, vm, hyperd)
    ran_since = condition(vm, "Running")["lastTransitionTime"]
    with Console(hyperd, name) as console:
        console.log_in()
        console.type("reboot\r")
    wait_until(lambda: hyperd.console_log(vm).count("login:") >= 3, timeout=BOOT_SECONDS, what="a second boot")
    assert qemu_pid(node, vm, hyperd) == before
    # Who waits for a reboot sees it in the condition's time, as if the instance had been made anew.
    rebooted = hyperd.wait("vm", name, lambda o: condition(o, "Running")["lastTransitionTime"] > ran_since)
    assert rebooted["status"]["phase"] == "Running"
    assert rebooted["status"]["stats"]["lastStartTime"] == condition(rebooted, "Running")["lastTransitionTime"]


def test_a_killed_qemu_is_started_again(hyperd: Hyperd, node: Node, name: str) -> None:
    vm = make(hyperd, name)
    before = qemu_pid(node, vm, hyperd)
    node.exec(["kill", "-9", str(before)])
    hyperd.wait(
        "vm",
        name,
        lambda o: o.get("status", {}).get("phase") == "Running" and qemu_pid(node, vm, hyperd) not in (0, before),
    )


def test_always_off_stops_a_machine_and_its_end_starts_it(hyperd: Hyperd, name: str) -> None:
    make(hyperd, name, terminationGracePeriodSeconds=0)
    hyperd.patch("vm", name, {"spec": {"runPolicy": "AlwaysOff"}})
    hyperd.wait_phase("vm", name, "Stopped")
    # A disk put first while it was off takes no other's place in the guest.
    other = f"{name}-b"
    hyperd.create(disk(other, size="8Mi"))
    hyperd.wait_phase("vd", other, "Ready")
    refs = [{"kind": "VirtualDisk", "name": each} for each in (other, name)]
    hyperd.patch("vm", name, {"spec": {"runPolicy": "AlwaysOnUnlessStoppedManually", "blockDeviceRefs": refs}})
    running = hyperd.wait_phase("vm", name, "Running")
    targets = {ref["name"]: ref["target"] for ref in running["status"]["blockDeviceRefs"]}
    assert targets == {name: "sda", other: "sdb"}
    hyperd.delete("vm", name)
    hyperd.wait_gone("vm", name)
    hyperd.delete("vd", other)
    hyperd.wait_gone("vd", other)


def test_a_disk_grows_under_a_running_guest(hyperd: Hyperd, name: str) -> None:
    vm = make(hyperd, name)
    hyperd.wait_console(vm, "login:")
    hyperd.patch("vd", name, {"spec": {"persistentVolumeClaim": {"size": "64Mi"}}})
    grown = hyperd.wait("vd", name, lambda o: o.get("status", {}).get("capacity") == "64Mi")
    assert grown["status"]["phase"] == "Ready"
    with Console(hyperd, name) as console:
        console.log_in()
        assert str(64 * 2048) in console.run("cat /sys/block/sda/size")


def test_disks_that_the_spec_changes_stay_what_they_are_until_the_restart(hyperd: Hyperd, name: str) -> None:
    # With paravirtualization they change in the guest that runs: test_attachments.
    make(hyperd, name, terminationGracePeriodSeconds=0, enableParavirtualization=False)
    before = hyperd.get("vd", name)["status"]["capacity"]
    other = f"{name}-b"
    hyperd.create(disk(other, size="8Mi"))
    hyperd.wait_phase("vd", other, "Ready")
    hyperd.patch("vm", name, {"spec": {"blockDeviceRefs": [{"kind": "VirtualDisk", "name": other}]}})
    vm = hyperd.wait("vm", name, lambda o: o.get("status", {}).get("restartAwaitingChanges"))
    assert [(ref["name"], ref["attached"]) for ref in vm["status"]["blockDeviceRefs"]] == [
        (name, True),
        (other, False),
    ]
    # The disk that waits grows as one that nobody holds; the disk in the guest keeps its size.
    hyperd.patch("vd", other, {"spec": {"persistentVolumeClaim": {"size": "96Mi"}}})
    hyperd.wait("vd", other, lambda o: o.get("status", {}).get("capacity") == "96Mi")
    assert hyperd.get("vd", name)["status"]["capacity"] == before
    # The guest still writes to the disk that its spec no longer names, so a deletion waits.
    hyperd.delete("vd", name)
    held = hyperd.wait("vd", name, lambda o: condition(o, "Terminating").get("status") == "True")
    assert condition(held, "Terminating")["reason"] == "CleanupPending"
    restart = hyperd.create(operation("Restart", name, force=True))
    hyperd.wait_phase("vmop", restart["metadata"]["name"], "Completed", timeout=90)
    hyperd.wait_gone("vd", name)
    hyperd.delete("vm", name)
    hyperd.wait_gone("vm", name)
    hyperd.delete("vd", other)
    hyperd.wait_gone("vd", other)


def test_user_data_reaches_the_guest(hyperd: Hyperd, name: str) -> None:
    script = "#!/bin/sh\necho HELLO-FROM-USER-DATA >/dev/ttyS0\n"
    vm = make(hyperd, name, provisioning={"type": "UserData", "userData": script})
    hyperd.wait_console(vm, "HELLO-FROM-USER-DATA")
    assert condition(vm, "ProvisioningReady")["reason"] == "ProvisioningReady"
    hyperd.patch("vm", name, {"spec": {"provisioning": {"userData": "hello"}}})
    odd = hyperd.wait("vm", name, lambda o: condition(o, "ProvisioningReady")["message"])
    assert "no header that cloud-init knows" in condition(odd, "ProvisioningReady")["message"]
    assert condition(odd, "ProvisioningReady")["reason"] == "ProvisioningReadyWithWarnings"

    # The guest of the tests runs what it finds on a CD-ROM as well.
    print_answers = "#!/bin/sh\nmount -o ro -t iso9660 /dev/sr0 /mnt && cat /mnt/autounattend.xml >/dev/ttyS0\n"
    files = {"autounattend.xml": "<!--ANSWERS-->\n", "user-data": print_answers}
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "default", "name": name}}
    hyperd.create({**secret, "type": SYSPREP_SECRET_TYPE, "stringData": files})
    answers = {"type": "SysprepRef", "userData": None, "sysprepRef": {"kind": "Secret", "name": name}}
    hyperd.patch("vm", name, {"spec": {"provisioning": answers}})
    hyperd.wait("vm", name, lambda o: condition(o, "ConfigurationApplied").get("status") == "False")
    restart = hyperd.create(operation("Restart", name, force=True))
    hyperd.wait_phase("vmop", restart["metadata"]["name"], "Completed", timeout=90)
    hyperd.wait_console(vm, "<!--ANSWERS-->")
    hyperd.patch("vm", name, {"spec": {"provisioning": None}})
    vm = hyperd.wait("vm", name, lambda o: o["status"].get("restartAwaitingChanges"))
    (change,) = vm["status"]["restartAwaitingChanges"]
    assert (change["path"], change["operation"]) == ("provisioning", "remove")


@both_homes
def test_user_data_of_a_secret_is_bytes_and_leaves_a_guest_that_runs(hyperd: Hyperd, name: str) -> None:
    script = b"#!/bin/sh\n# caf\xe9\necho HELLO-FROM-LATIN-1 >/dev/ttyS0\n"
    init: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "default", "name": name}}
    hyperd.create(
        {**init, "type": CLOUD_INIT_SECRET_TYPE, "data": {"userData": base64.b64encode(script).decode()}}
    )
    reference = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": name}}
    vm = make(hyperd, name, provisioning=reference, terminationGracePeriodSeconds=0)
    hyperd.wait_console(vm, "HELLO-FROM-LATIN-1")
    seed = hyperd.state_dir / "seeds" / f"{vm['metadata']['uid']}.img"
    assert script in seed.read_bytes()

    hyperd.patch("vm", name, {"spec": {"provisioning": None}})
    vm = hyperd.wait("vm", name, lambda o: o["status"]["observedGeneration"] == o["metadata"]["generation"])
    assert "restartAwaitingChanges" not in vm["status"]
    wait_until(lambda: not seed.exists(), what="the seed's end")
    assert seed.name not in hyperd.node.virsh("dumpxml", f"{hyperd.instance}-{vm['metadata']['uid']}")
    hyperd.patch("vm", name, {"spec": {"provisioning": reference}})
    vm = hyperd.wait("vm", name, lambda o: o["status"].get("restartAwaitingChanges"))
    assert [one["operation"] for one in vm["status"]["restartAwaitingChanges"]] == ["add"]


AGENT = """#!/bin/sh
for _ in $(seq 300); do # the port gets its name some time after its driver is there
port=$(grep -ls guest_agent /sys/class/virtio-ports/*/name) && break; sleep 0.2; done; port=${port%/name}
exec 3<>/dev/${port##*/}
{ while read -r line; do case $line in
*guest-sync*) echo "{\\"return\\":$(echo "$line" | sed 's/.*"id":\\([0-9]*\\).*/\\1/')}" ;;
*get-osinfo*) echo '{"return":{"id":"tiny","pretty-name":"Tiny 1","kernel-release":"6.1"}}' ;;
*get-host-name*) echo '{"return":{"host-name":"tiny"}}' ;;
*) echo '{"error":{"class":"CommandNotFound","desc":"no"}}' ;;
esac; done } <&3 >&3 2>/dev/null &
"""


def test_what_the_guests_agent_tells_is_shown(hyperd: Hyperd, name: str) -> None:
    make(hyperd, name, provisioning={"type": "UserData", "userData": AGENT}, terminationGracePeriodSeconds=0)
    vm = hyperd.wait("vm", name, lambda o: (o.get("status") or {}).get("guestOSInfo"), timeout=BOOT_SECONDS)
    assert vm["status"]["guestOSInfo"] == {"id": "tiny", "prettyName": "Tiny 1", "kernelRelease": "6.1"}
    assert condition(vm, "AgentReady")["status"] == "True"
    assert vm["status"]["stats"]["launchTimeDuration"]["guestOSAgentStarting"].endswith("s")
    stop = hyperd.create(operation("Stop", name, force=True))
    hyperd.wait_phase("vmop", stop["metadata"]["name"], "Completed")
    stopped = hyperd.get("vm", name)["status"]
    assert "guestOSInfo" not in stopped
    assert "launchTimeDuration" not in stopped["stats"]
    assert "requestedCores" not in stopped["resources"]["cpu"]


def test_a_second_machine_waits_for_a_disk_in_use_and_takes_it_when_it_is_free(hyperd: Hyperd, name: str) -> None:
    make(hyperd, name, terminationGracePeriodSeconds=0)
    second = f"{name}-b"
    hyperd.create(machine(second, name, terminationGracePeriodSeconds=0))
    waiting = hyperd.wait("vm", second, lambda o: condition(o, "BlockDevicesReady").get("status") == "False")
    assert f'in use by another VM, "{name}"' in condition(waiting, "BlockDevicesReady")["message"]
    assert waiting["status"]["phase"] == "Pending"
    assert "VirtualDiskAlreadyInUse" in [event["reason"] for event in hyperd.events(second)]
    hyperd.delete("vm", name)
    hyperd.wait_phase("vm", second, "Running")
    hyperd.delete("vm", second)
    hyperd.wait_gone("vm", second)


def test_what_is_not_there_yet_is_named_and_waited_for(hyperd: Hyperd, name: str) -> None:
    hyperd.create(disk(name, image="not-there"))
    waiting = hyperd.wait("vd", name, lambda o: condition(o, "Ready"))
    assert waiting["status"]["phase"] == "Pending"
    assert condition(waiting, "Ready")["reason"] == "DatasourceIsNotFound"
    assert condition(waiting, "DatasourceReady")["reason"] == "ImageNotFound"
    hyperd.create(machine(name, name, virtualMachineIPAddressName="not-there"))
    lacking = hyperd.wait("vm", name, lambda o: condition(o, "VirtualMachineIPAddressReady"))
    assert condition(lacking, "VirtualMachineIPAddressReady")["reason"] == "VirtualMachineIPAddressNotReady"


def test_a_machine_without_anything_to_boot_from_says_so(hyperd: Hyperd, name: str) -> None:
    hyperd.create(disk(name, size="8Mi"))
    hyperd.create(machine(name, name, terminationGracePeriodSeconds=0))
    stuck = hyperd.wait("vm", name, lambda o: condition(o, "Running").get("reason") == "NoBootableDevice")
    assert (stuck["status"]["phase"], condition(stuck, "Running")["status"]) == ("Running", "True")


@both_homes
def test_a_start_that_no_node_suits_gives_way_to_a_stop(hyperd: Hyperd, name: str) -> None:
    hyperd.create(disk(name, size="8Mi"))
    hyperd.create(machine(name, name, runPolicy="Manual", nodeSelector={"zone": "nowhere"}))
    hyperd.wait_phase("vm", name, "Stopped")
    start = hyperd.create(operation("Start", name))
    hyperd.wait_phase("vmop", start["metadata"]["name"], "InProgress")
    waiting = hyperd.wait("vm", name, lambda o: "nodeSelector" in condition(o, "Running").get("message", ""))
    assert (waiting["status"]["phase"], condition(waiting, "Running")["reason"]) == ("Pending", "PodNotStarted")
    stop = hyperd.create(operation("Stop", name))
    superseded = hyperd.wait_phase("vmop", start["metadata"]["name"], "Superseded")
    assert condition(superseded, "Completed")["reason"] == "Superseded"
    hyperd.wait_phase("vmop", stop["metadata"]["name"], "Completed")
    assert hyperd.get("vm", name)["status"]["phase"] == "Stopped"
