"""A device keeps its slot: over restarts, over changes around it, and from the version that assigned none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.hypervisor.slots import Address, Slot, decode, encode, pci
from hyperd.hypervisor.spec import DiskSpec, DomainSpec, NicSpec
from hyperd.hypervisor.xml.devices.device import Device
from hyperd.hypervisor.xml.devices.disk import Disk, DiskBus
from hyperd.hypervisor.xml.layout import devices_of, disk_targets, read_slots, slots_of
from tests.unit.hypervisor import specs

BEFORE = Path(__file__).parents[2] / "golden" / "before"
"""What libvirt made of domains that the last commit without slots defined."""
NAMES = sorted(path.stem for path in BEFORE.iterdir())
MANY = tuple(
    replace(kind, name=f"d{number}", serial=specs.serial(number), boot_order=None)
    for number, kind in enumerate([specs.ROOT, specs.DATA, specs.IMAGE, specs.ISO, specs.SEED, specs.DATA])
)
MACHINES = [specs.GENERIC, specs.LEGACY, specs.PLAIN, replace(specs.LEGACY, paravirt=False)]


def _places(devices: list[Device]) -> list[tuple[str, Address]]:
    """Of all, with the bus that disks' addresses are on."""
    return [
        (device.bus if isinstance(device, Disk) and device.bus is not DiskBus.VIRTIO else "", device.slot.address)
        for device in devices
        if device.slot.address is not None
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_of_the_version_before_keeps_every_slot(name: str) -> None:
    had = read_slots(ET.parse(BEFORE / f"{name}.xml").getroot())
    spec = replace(specs.ALL[name], slots=had)
    assert slots_of(spec).items() <= had.items()
    assert slots_of(spec).keys() >= {f"disk/{disk.serial}" for disk in spec.disks}


@pytest.mark.parametrize("name", NAMES)
def test_a_new_machine_s_layout_is_the_one_of_the_version_before(name: str) -> None:
    had = dict(read_slots(ET.parse(BEFORE / f"{name}.xml").getroot()))
    if name == "legacy":
        # Its place in the list was the seed's SCSI target; the name that the guest sees is the same.
        had[f"disk/{specs.SEED.serial}"] = Slot(Address.parse("drive:0:0:0:0"), "sda")
    assert slots_of(specs.ALL[name]).items() <= had.items()


@given(
    machine=st.sampled_from(MACHINES),
    first=st.permutations(MANY).flatmap(lambda disks: st.integers(0, 6).map(lambda count: disks[:count])),
    then=st.permutations(MANY).flatmap(lambda disks: st.integers(0, 6).map(lambda count: disks[:count])),
)
def test_no_change_of_the_list_moves_a_disk_that_stays(
    machine: DomainSpec, first: list[DiskSpec], then: list[DiskSpec]
) -> None:
    before = replace(machine, disks=tuple(first))
    slots = decode(encode(slots_of(before)))
    after = replace(machine, disks=tuple(then), slots=slots)
    found = slots_of(after)
    crowded = {"disk", "input"} if not machine.paravirt else set()
    for key in slots.keys() & found.keys():
        if key.partition("/")[0] not in crowded:
            assert found[key] == slots[key]
        assert found[key].target == slots[key].target
    places = _places(devices_of(after))
    assert len(places) == len(set(places))
    targets = list(disk_targets(after).values())
    assert len(targets) == len(set(targets)) == len(then)


def test_a_disk_put_first_or_taken_out_leaves_the_others_where_they_are() -> None:
    spec = replace(specs.GENERIC, disks=(specs.ROOT, specs.DATA, specs.IMAGE))
    kept = slots_of(spec)
    changed = replace(spec, disks=(specs.ISO, specs.IMAGE, specs.ROOT), slots=kept)
    assert disk_targets(changed) == {"cvi-installer": "sdb", "vi-ubuntu": "sdc", "vd-root": "sda"}


def test_another_bus_or_board_gets_slots_of_its_own_and_no_stale_ones() -> None:
    generic = slots_of(specs.GENERIC)
    for other in (specs.LEGACY, specs.PLAIN, specs.LEGACY_PLAIN):
        assert slots_of(replace(other, slots=generic)).keys() == slots_of(other).keys()
        back = slots_of(replace(specs.GENERIC, slots=slots_of(replace(other, slots=generic))))
        places = _places(devices_of(replace(specs.GENERIC, slots=back)))
        assert len(places) == len(set(places))


def test_a_card_more_gets_a_port_of_its_own_and_the_spare_ones_stay_four() -> None:
    kept = slots_of(specs.GENERIC)
    two = replace(specs.GENERIC, nics=(NicSpec("t1", "52:54:00:00:00:01"), *specs.GENERIC.nics), slots=kept)
    found = slots_of(two)
    assert found.items() >= kept.items()
    assert found["nic/52:54:00:00:00:01"].address == pci(7, 0)
    assert sum(key.startswith("pcie-root-port/") for key in found) == 11


@pytest.mark.parametrize("record", [None, [], {"disk/a": 1}, {"disk/a": {"address": "pci:x", "target": None}}])
def test_a_record_that_makes_no_sense_keeps_no_slot(record: object) -> None:
    assert not any(slot.address for slot in decode(record).values())
    assert slots_of(replace(specs.GENERIC, slots=decode(record))) == slots_of(specs.GENERIC)


def test_a_slot_that_two_devices_claim_is_one_s() -> None:
    claimed = Slot(Address.parse("drive:0:0:5:0"), "sdf")
    spec = replace(
        specs.GENERIC,
        disks=(specs.ROOT, specs.DATA),
        slots={f"disk/{disk.serial}": claimed for disk in (specs.ROOT, specs.DATA)},
    )
    assert disk_targets(spec) == {"vd-root": "sdf", "vd-data": "sda"}
