"""Every field of a machine's spec shows in the domain's XML, or a test says what else it does."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from hyperd.controllers.machine.applied import changes, configuration
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.devices import Device
from hyperd.controllers.machine.plan import Plan, Start, links_of, make_plan
from hyperd.hypervisor.facts.host import HostFacts
from hyperd.hypervisor.spec import DomainType
from hyperd.hypervisor.xml.domain import domain_xml
from hyperd.hypervisor.xml.layout import slots_of
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.network.kinds.routed.network import RoutedNetwork
from hyperd.network.place import THIS_HOST
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine import VirtualMachineSpec
from hyperd.resources.schema.applies import Restart
from hyperd.settings import Settings
from tests.parts import Part
from tests.unit.controllers.test_plan import FACTS

TESTS = Path(__file__).parents[2]
UID = "6f1f4a5e-6c0b-4d3e-9d57-0c7f3f6a2b11"
SPEC: Part = {
    "virtualMachineClassName": "generic",
    "cpu": {"cores": 2, "coreFraction": "100%"},
    "memory": {"size": "1Gi"},
    "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}, {"kind": "VirtualDisk", "name": "data"}],
    "osType": "Generic",
    "bootloader": "BIOS",
    "enableParavirtualization": True,
}
DEVICES = [
    Device("VirtualDisk", name, f"uid-{name}", None, "1Gi", readonly=False, cdrom=False, boot_order=None)
    for name in ("root", "data")
]
HOST: Part = {"cpu": {"type": "Host"}}
FOUND = Dependencies(class_spec=HOST, address=IPv4Address("10.66.10.14"), devices=DEVICES)
START = Start(
    sources={one.uid: FileHandle(Path("/v") / one.name, DiskFormat.QCOW2) for one in DEVICES},
    slots={},
    assign=slots_of,
)
SETTINGS = Settings.model_validate({"network": {"virtual_machine_cidrs": ["10.66.10.0/24"]}})

IN_THE_DOMAIN: Mapping[str, list[tuple[Part, dict[str, Any], dict[str, Any], str]]] = {
    "virtualMachineClassName": [
        ({}, {"class_spec": {"cpu": {"type": "HostPassthrough"}}}, {}, "cpu"),
    ],
    "cpu": [
        ({"cpu": {"cores": 4}}, {}, {}, "vcpu"),
        ({"cpu": {"cores": 2, "coreFraction": "50%"}}, {}, {}, "cputune"),
    ],
    "memory": [({"memory": {"size": "2Gi"}}, {}, {}, "memory")],
    "blockDeviceRefs": [
        ({}, {"devices": DEVICES[:1]}, {}, "devices/disk"),
        ({}, {"devices": [replace(DEVICES[0], boot_order=7), DEVICES[1]]}, {}, "devices/disk/boot"),
    ],
    "osType": [
        ({"osType": "Windows"}, {}, {}, "clock"),
        ({"osType": "Legacy"}, {}, {}, "os/type"),
    ],
    "bootloader": [
        ({"bootloader": "EFI"}, {}, {}, "os/nvram"),
        ({"bootloader": "EFIWithSecureBoot"}, {}, {}, "features/smm"),
        ({"bootloader": "EFIWithSecureBoot"}, {}, {}, "os/nvram"),
    ],
    "enableParavirtualization": [({"enableParavirtualization": False}, {}, {}, "devices/interface/model")],
    "provisioning": [({}, {}, {"seed": FileHandle(Path("/s"), DiskFormat.RAW)}, "devices/disk")],
    "virtualMachineIPAddressName": [({}, {"address": None}, {}, "devices/interface")],
}
"""Field → changes of the spec, of what was found for it, and of the start; and what is another in the XML then."""

ELSEWHERE = {
    "runPolicy": "unit/controllers/test_power.py::test_a_new_machine_starts_as_its_policy_says",
    "disruptions": "unit/controllers/test_approval.py::test_nothing_is_asked_for_without_approval",
    "terminationGracePeriodSeconds": (
        "host/machine/test_lifecycle.py::test_stop_asks_the_guest_and_restart_makes_a_new_instance"
    ),
    "nodeSelector": "unit/controllers/test_fitting.py::test_what_keeps_a_machine_off_a_node_is_named",
    "tolerations": "unit/controllers/test_taints.py::test_a_taint_keeps_away_what_does_not_tolerate_it",
    "affinity": "unit/controllers/test_fitting.py::test_the_weights_of_what_a_node_matches_add_up",
}
"""Field → the test of what it does beside the domain. What is not built is in neither table."""

OF_MIGRATIONS = {"liveMigrationPolicy"}
"""Says how a machine may migrate; operations that ask for that are not built, and say so themselves."""


def plan(spec: Part, found: dict[str, Any], start: dict[str, Any]) -> Plan:
    machine: Part = {"metadata": {"uid": UID, "namespace": "n", "name": "m", "generation": 1}, "spec": SPEC | spec}
    dependencies, network = replace(FOUND, **found), RoutedNetwork(SETTINGS, THIS_HOST)
    links = links_of(machine, dependencies.address, None, {})
    cards = tuple(card for link in links if (card := network.card(link)) is not None)
    return make_plan(
        machine,
        dependencies,
        replace(START, cards=cards, **start),
        settings=SETTINGS,
        facts=HostFacts(**FACTS | {"tpm": True, "cpu_tuning": True}),
        type_=DomainType.KVM,
    )


def seen(made: Plan, path: str) -> list[bytes]:
    return [ET.tostring(element) for element in ET.fromstring(domain_xml(made.domain)).iterfind(path)]


@pytest.mark.parametrize("field", IN_THE_DOMAIN)
def test_a_field_of_the_spec_shows_in_the_domain(field: str) -> None:
    for spec, found, start, path in IN_THE_DOMAIN[field]:
        assert seen(plan(spec, found, start), path) != seen(plan({}, {}, {}), path)


def test_each_field_is_in_the_domain_or_elsewhere_or_said_to_be_without_effect() -> None:
    fields = {field.alias or name for name, field in VirtualMachineSpec.model_fields.items()}
    named = (*VIRTUAL_MACHINE.unbuilt, *VIRTUAL_MACHINE.refused)
    unbuilt = {path.split(".")[1].partition("[")[0] for path in named}
    assert fields == {*IN_THE_DOMAIN, *ELSEWHERE, *OF_MIGRATIONS} | (unbuilt & fields)
    assert not IN_THE_DOMAIN.keys() & ELSEWHERE.keys()


@pytest.mark.parametrize("field", ELSEWHERE)
def test_the_test_that_is_named_for_a_field_is_there(field: str) -> None:
    file, _, name = ELSEWHERE[field].partition("::")
    tree = ast.parse((TESTS / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}


OTHERWISE: Mapping[str, tuple[object, object]] = {
    "virtualMachineClassName": ("generic", "other"),
    "runPolicy": ("Manual", "AlwaysOn"),
    "cpu": ({"cores": 2, "coreFraction": "100%"}, {"cores": 4, "coreFraction": "50%"}),
    "memory": ({"size": "1Gi"}, {"size": "2Gi"}),
    "blockDeviceRefs": (
        [{"kind": "VirtualDisk", "name": "root"}, {"kind": "VirtualDisk", "name": "data"}],
        [{"kind": "VirtualDisk", "name": "data"}, {"kind": "VirtualDisk", "name": "root"}],
    ),
    "disruptions": ({"restartApprovalMode": "Manual"}, {"restartApprovalMode": "Automatic"}),
    "terminationGracePeriodSeconds": (60, 5),
    "osType": ("Generic", "Windows"),
    "bootloader": ("BIOS", "EFI"),
    "enableParavirtualization": (True, False),
    "provisioning": ({"type": "UserData", "userData": "#!/bin/a"}, {"type": "UserData", "userData": "#!/bin/b"}),
    "liveMigrationPolicy": ("PreferSafe", "AlwaysSafe"),
    "virtualMachineIPAddressName": ("one", "two"),
    "networks": ([{"type": "Main"}], [{"type": "Main"}, {"type": "Network", "name": "n"}]),
    "nodeSelector": ({"disk": "fast"}, {"disk": "slow"}),
    "tolerations": ([{"key": "a"}], [{"key": "b"}]),
    "affinity": ({"nodeAffinity": {}}, {"virtualMachineAndPodAffinity": {}}),
    "topologySpreadConstraints": ([{"topologyKey": "zone"}], [{"topologyKey": "rack"}]),
    "priorityClassName": ("low", "high"),
    "usbDevices": ([{"name": "a"}], [{"name": "b"}]),
    "gpus": ([{"gpuClassName": "a"}], [{"gpuClassName": "b"}]),
}
"""Field → two values that differ."""


def test_every_field_of_the_spec_has_two_values_to_try() -> None:
    assert {field.alias or name for name, field in VirtualMachineSpec.model_fields.items()} == OTHERWISE.keys()


@pytest.mark.parametrize("field", OTHERWISE)
def test_a_change_of_a_field_waits_if_the_field_says_so(field: str) -> None:
    before, after = ({field: value} for value in OTHERWISE[field])
    waits = list(
        dict.fromkeys(change["path"].partition(".")[0] for change in changes(configuration(before), after))
    )
    (mark,) = (mark for path, mark, _ in VIRTUAL_MACHINE.fields if path == f"spec.{field}")
    assert waits == ([field] if isinstance(mark, Restart) else [])
    assert isinstance(mark, Restart) or field not in IN_THE_DOMAIN, "a domain keeps what it was defined with"


def test_a_start_keeps_the_slots_that_are_known_and_records_all() -> None:
    first = plan({}, {}, {}).domain
    turned = plan({}, {"devices": DEVICES[::-1]}, {"slots": first.slots}).domain
    assert turned.slots == first.slots
    assert seen(plan({}, {"devices": DEVICES[::-1]}, {"slots": first.slots}), "devices/interface") == seen(
        plan({}, {}, {}), "devices/interface"
    )
