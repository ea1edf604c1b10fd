"""Where a disk that is plugged in sits."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from hyperd.errors import TemporaryError
from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.slots import Slot, drive
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.controller import Controller
from hyperd.hypervisor.xml.devices.disk import Disk, DiskBus
from hyperd.hypervisor.xml.domain import domain_xml
from hyperd.hypervisor.xml.plugging import devices_to_plug, disk_element
from hyperd.settings import HypervisorSettings
from tests.unit.hypervisor import specs

MORE = replace(specs.DATA, serial=specs.serial(77), boot_order=1)


def running(spec: DomainSpec) -> ET.Element:
    return ET.fromstring(domain_xml(spec))


def test_a_new_disk_gets_the_next_free_name_and_place() -> None:
    domain = running(replace(specs.GENERIC, disks=(specs.ROOT, specs.SEED)))
    (new,) = devices_to_plug(domain, MORE, Slot())
    assert isinstance(new, Disk)
    assert (new.bus, new.target, new.address) == (DiskBus.SCSI, "sdc", drive(target=2))
    assert new.boot_order is None, "what is plugged in boots nothing"
    domain.find("devices").append(new.to_xml())  # type: ignore[union-attr]
    assert devices_to_plug(domain, MORE, Slot()) == []
    assert disk_element(domain, MORE.serial) is not None


def test_a_disk_comes_back_to_where_it_was_unless_that_is_taken() -> None:
    domain = running(replace(specs.GENERIC, disks=(specs.ROOT, specs.SEED)))
    (back,) = devices_to_plug(domain, MORE, Slot(drive(target=9), "sdj"))
    assert back.slot == Slot(drive(target=9), "sdj")
    (other,) = devices_to_plug(domain, MORE, Slot(drive(target=0), "sda"))
    assert other.slot == Slot(drive(target=2), "sdc")


@pytest.mark.parametrize("spec", [specs.PLAIN, replace(specs.PLAIN, disks=(specs.ROOT, specs.DATA))])
def test_a_machine_without_scsi_gets_its_controller_first(spec: DomainSpec) -> None:
    spec = replace(spec, disks=(specs.ROOT, specs.DATA))
    controller, new = devices_to_plug(running(spec), MORE, Slot())
    assert isinstance(controller, Controller)
    assert (controller.type, controller.model, controller.queues) == ("scsi", "virtio-scsi", 4)
    assert controller.address is not None
    assert controller.address.numbers[1] > 0, "behind a port, as it is plugged in"
    assert isinstance(new, Disk)
    assert new.bus is DiskBus.SCSI
    assert new.target == "sdc"


def test_an_iso_is_a_drive_that_nobody_writes_to() -> None:
    (new,) = devices_to_plug(running(specs.GENERIC), replace(specs.ISO, serial=specs.serial(78)), Slot())
    assert isinstance(new, Disk)
    assert new.cdrom
    assert new.readonly


async def test_no_merge_is_begun_in_a_disk_that_is_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    hypervisor = LibvirtHypervisor(HypervisorSettings(uri="test:///default"), instance="one")
    gone = False

    async def call(*_: object, **__: object) -> bool:
        return gone

    monkeypatch.setattr(hypervisor._lanes, "call", call)
    assert not await hypervisor.detach_disk("guest", "disk")
    with pytest.raises(TemporaryError, match="The disk is being unplugged"):
        await hypervisor.pull("guest", "disk", base=None)
    assert not await hypervisor.pull("guest", "other", base=None)
    gone = True
    assert await hypervisor.detach_disk("guest", "disk")
    assert await hypervisor.pull("guest", "disk", base=None), "it came again"
