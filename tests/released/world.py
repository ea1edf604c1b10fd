"""What a released daemon is left with: the objects, and the steps that recording and rebuilding share.

One machine runs, with a change that waits for its restart; one has firmware variables and is off; one waits for a
node that there is not. There are images in registry and cache, a failed import that will be tried again, a
static address, user data in a Secret, a quota, and a class.
"""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from hyperd.resources.values.names import CLOUD_INIT_SECRET_TYPE
from tests.host.running import Hyperd, Object, condition, disk, image, machine, operation

INSTANCE = "released"
"""Its domain, taps and files are named for it, so a rebuilt world has the same."""
ADDRESS = "10.66.10.77"
BOOTED = "BOOT="
"""What the guest prints before the id of its boot."""
SCRIPT = b"#!/bin/sh\necho BOOT=$(cat /proc/sys/kernel/random/boot_id) >/dev/ttyS0\n"
GROUP = "virtualization.deckhouse.io"

HOST_DIR = "@DIR@"
"""Stands in the domain's XML for the folder that all of the daemon's folders are in."""


def daemon_settings() -> dict[str, object]:
    return {"instance": INSTANCE}


def tiny_image(path: Path, guest: Path) -> None:
    """An image of a few sectors, as large as the guest's disk: it can be kept in a repository."""
    raw = path.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", guest, raw], check=True)
    size = raw.stat().st_size
    raw.unlink()
    with raw.open("wb") as file:
        file.write(b"A released image.\n")
        file.truncate(size)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, path], check=True)
    raw.unlink()


def install_guest(guest: Path, volume: Path) -> None:
    """Write the guest over a volume, as an installer in the machine would."""
    subprocess.run(["qemu-img", "convert", "-n", "-O", "qcow2", guest, volume], check=True)


def make_disks(daemon: Hyperd, url: str) -> None:
    """All that is there before the machine is."""
    daemon.create(image("tiny", url))
    daemon.create(image("broken", "http://127.0.0.1:1/none.qcow2"))
    daemon.create(_object("VirtualMachineClass", "small", {"cpu": {"type": "Discovery"}}, version="v1alpha3"))
    daemon.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "bound", "namespace": "default"},
            "spec": {"hard": {"requests.storage": "1Gi"}},
        }
    )
    daemon.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "script", "namespace": "default"},
            "type": CLOUD_INIT_SECRET_TYPE,
            "data": {"userData": base64.b64encode(SCRIPT).decode()},
        }
    )
    daemon.create(_object("VirtualMachineIPAddress", "fixed", {"type": "Static", "staticIP": ADDRESS}))
    daemon.wait_phase("vi", "tiny", "Ready")
    daemon.wait("vi", "broken", lambda o: o.get("status", {}).get("retry"))
    daemon.create(disk("root", image="tiny"))
    for name in ("data", "firmware", "spare"):
        daemon.create(disk(name, size="8Mi"))
    for name in ("root", "data", "firmware", "spare"):
        daemon.wait_phase("vd", name, "Ready")
    daemon.wait_phase("vmip", "fixed", "Bound")


def make_machines(daemon: Hyperd) -> Object:
    """The machines; returns the one that runs, once its guest is up."""
    daemon.create(
        machine("off", "firmware", bootloader="EFI", runPolicy="Manual", terminationGracePeriodSeconds=0)
    )
    daemon.wait_phase("vm", "off", "Stopped")
    for type_, phase in (("Start", "Running"), ("Stop", "Stopped")):
        asked = daemon.create(operation(type_, "off"))
        daemon.wait_phase("vmop", asked["metadata"]["name"], "Completed")
        daemon.wait_phase("vm", "off", phase)
    daemon.create(machine("waiting", "spare", runPolicy="Manual", nodeSelector={"zone": "nowhere"}))
    daemon.create(
        machine(
            "web",
            "root",
            "data",
            virtualMachineIPAddressName="fixed",
            provisioning={"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "script"}},
        )
    )
    vm = daemon.wait_phase("vm", "web", "Running")
    daemon.wait_console(vm, BOOTED)
    daemon.wait_console(vm, f"IP={ADDRESS}")
    daemon.patch("vm", "web", {"spec": {"memory": {"size": "160Mi"}}})
    daemon.wait("vm", "web", lambda o: o["status"].get("restartAwaitingChanges"))
    daemon.wait_phase("vm", "waiting", "Stopped")
    start = daemon.create(operation("Start", "waiting"))
    daemon.wait_phase("vmop", start["metadata"]["name"], "InProgress")
    return daemon.wait("vm", "waiting", lambda o: "nodeSelector" in condition(o, "Running").get("message", ""))


def _object(kind: str, name: str, spec: Object, version: str = "v1alpha2") -> Object:
    metadata = {"name": name, **({} if kind == "VirtualMachineClass" else {"namespace": "default"})}
    return {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": metadata, "spec": spec}
