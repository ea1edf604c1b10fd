"""What a machine becomes on a host that lacks something of what it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.plan import Plan, Start, make_plan
from hyperd.hypervisor.facts.host import HostFacts
from hyperd.hypervisor.spec import DomainType
from hyperd.hypervisor.xml.domain import domain_xml
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.settings import Settings
from tests.parts import Part

FACTS: dict[str, Any] = {
    "hostname": "h",
    "architecture": "x86_64",
    "cpus": 2,
    "memory_bytes": 1 << 30,
    "machine_id": "",
    "boot_id": "",
    "kernel": "",
    "os_image": "",
    "kvm_usable": True,
    "why_not_kvm": "",
    "libvirt_version": "",
    "qemu_version": "",
}


SEED = FileHandle(Path("/seed.img"), DiskFormat.RAW)


def plan(os_type: str, *, start: Start | None = None, provisioning: Part | None = None, **facts: object) -> Plan:
    machine: Part = {
        "metadata": {"uid": "u", "namespace": "n", "name": "m", "generation": 1},
        "spec": {"cpu": {"cores": 1}, "memory": {"size": "1Gi"}, "osType": os_type},
    }
    if provisioning is not None:
        machine["spec"]["provisioning"] = provisioning
    host = HostFacts(**FACTS | facts)
    start = start or Start()
    return make_plan(machine, Dependencies(), start, settings=Settings(), facts=host, type_=DomainType.KVM)


@pytest.mark.parametrize(
    ("os_type", "there", "given", "told"),
    [
        ("Windows", True, True, ""),
        ("Windows", False, False, "The guest has no TPM"),
        ("Generic", False, False, ""),
    ],
)
def test_a_guest_that_lacks_its_tpm_is_said_to(os_type: str, there: bool, given: bool, told: str) -> None:
    made = plan(os_type, tpm=there)
    assert made.domain.tpm is given
    assert made.note.startswith(told)
    assert bool(made.note) is bool(told)


@pytest.mark.parametrize(("architecture", "machine"), [("x86_64", "q35"), ("aarch64", "virt")])
def test_the_domain_is_of_the_host_s_architecture(architecture: str, machine: str) -> None:
    kind = ET.fromstring(domain_xml(plan("Generic", architecture=architecture).domain)).find("os/type")
    assert kind is not None
    assert kind.attrib == {"arch": architecture, "machine": machine}


@pytest.mark.parametrize(
    ("type_", "os_type", "device", "bus"),
    [
        ("UserDataRef", "Windows", "disk", "scsi"),
        ("SysprepRef", "Windows", "cdrom", "scsi"),
    ],
)
def test_sysprep_s_answers_are_a_cd_rom(type_: str, os_type: str, device: str, bus: str) -> None:
    made = plan(os_type, start=Start(seed=SEED), provisioning={"type": type_})
    disk = ET.fromstring(domain_xml(made.domain)).find("devices/disk")
    assert disk is not None
    assert disk.get("device") == device
    assert disk.find("readonly") is not None
    assert disk.find("boot") is None
    assert [target.get("bus") for target in disk.iter("target")] == [bus]
