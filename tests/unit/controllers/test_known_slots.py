"""What a start knows of where the devices were."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd.controllers.machine import applied
from hyperd.controllers.machine.attached import device_entries
from hyperd.controllers.machine.devices import Device
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.known_slots import known_slots, shown
from hyperd.hypervisor.interface import Hypervisor
from hyperd.hypervisor.slots import Slot, Slots, drive, encode
from hyperd.hypervisor.state import DomainInfo, DomainState
from tests.parts import Part

NAMES = ("a", "b", "c", "d")
KEYS = {name: f"disk/{serial_of(f'uid-{name}')}" for name in NAMES}


def device(name: str) -> Device:
    return Device("VirtualDisk", name, f"uid-{name}", None, "1Gi", False, False, None)


def slot(letter: str, unit: int) -> Slot:
    return Slot(drive(target=unit), f"sd{letter}")


def machine(**targets: str) -> Part:
    entries = [{"kind": "VirtualDisk", "name": name, "target": target} for name, target in targets.items()]
    return {
        "metadata": {"uid": "u", "namespace": "n", "name": "m"},
        "spec": {"blockDeviceRefs": [{"kind": "VirtualDisk", "name": name} for name in NAMES]},
        "status": {"blockDeviceRefs": entries},
    }


def hypervisor(domain: Slots | None, record: Slots) -> Hypervisor:
    async def slots(uid: str) -> Slots:
        assert uid == "u"
        return domain or {}

    mark = applied.Applied(slots=encode(record)).encode()
    info = DomainInfo("u", "n", "m", 1, mark, DomainState.SHUTOFF, "", True)
    return cast(Hypervisor, SimpleNamespace(last_known={} if domain is None else {"u": info}, slots=slots))


async def test_the_domain_knows_better_than_its_record_and_that_better_than_the_status() -> None:
    knows = hypervisor(domain={KEYS["a"]: slot("q", 7)}, record={KEYS["a"]: slot("x", 1), KEYS["b"]: slot("r", 8)})
    found = await known_slots(machine(a="sda", b="sdb", c="sdc"), map(device, NAMES), knows)
    assert found == {KEYS["a"]: slot("q", 7), KEYS["b"]: slot("r", 8), KEYS["c"]: Slot(target="sdc")}


async def test_without_a_domain_the_status_tells_the_targets() -> None:
    found = await known_slots(machine(b="sda", gone="sdb"), map(device, NAMES), hypervisor(None, {}))
    assert found == {KEYS["b"]: Slot(target="sda")}


@pytest.mark.parametrize("active", [True, False])
def test_a_machine_that_is_off_still_shows_where_its_disks_were(active: bool) -> None:
    def source(kind: str, name: str) -> Any:
        return {"metadata": {"uid": f"uid-{name}"}, "status": {"capacity": "1Gi"}}

    state = DomainState.RUNNING if active else DomainState.SHUTOFF
    domain = DomainInfo("u", "n", "m", 1, "", state, "", True)
    was = machine(a="sdb")
    entries = {entry["name"]: entry for entry in device_entries(was, domain, source)}
    assert not any(entry["attached"] for entry in entries.values())
    assert entries["a"].get("target") == (None if active else "sdb")
    assert "target" not in entries["b"]
    assert len(shown(was, [device("a")])) == 1
