"""Which attachments bring their device, and which devices of a guest are asked for by nobody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd.controllers.attachment.attachments import Attachments
from hyperd.controllers.attachment.controller import AttachmentController, Plugs
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.devices import Device
from hyperd.controllers.machine.held import Held, serial_of
from hyperd.controllers.machine.hotplug import Change, HotPlug
from hyperd.controllers.machine.instance import Instances
from hyperd.hypervisor.state import DomainDisk, DomainInfo, DomainState
from hyperd.resources.all import (
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.conditions import find_condition
from hyperd.resources.values.names import SELECTED_NODE_ANNOTATION
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item, Store
from tests.parts import Part
from tests.unit.controllers.world import running


def attachment(name: str, device: str, *, age: int = 0, kind: str = "VirtualDisk", **more: str) -> Part:
    vm = more.pop("vm", "vm")
    meta = {"namespace": "default", "name": name, "uid": f"uid-{name}", "creationTimestamp": f"{9 - age}", **more}
    spec = {"virtualMachineName": vm, "blockDeviceRef": {"kind": kind, "name": device}}
    return {"metadata": meta, "spec": spec}


def machine(*disks: str) -> Part:
    refs = [{"kind": "VirtualDisk", "name": disk} for disk in disks]
    return {"metadata": {"namespace": "default", "name": "vm", "uid": "vm"}, "spec": {"blockDeviceRefs": refs}}


def disk(name: str) -> Part:
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"}, "spec": {}}


def context_of(*objects: tuple[Kind, Part]) -> Context:
    """A world where these are seen."""
    informers: dict[str, Informer[Any]] = {}

    def informer(kind: Kind) -> Informer[Any]:
        return informers.setdefault(kind.kind, Informer(cast(Store, None), kind))

    for kind, obj in objects:
        item: Item[Any] = Item.of(obj)
        informer(kind)._items[item.namespace, item.name] = item
    return cast(Context, SimpleNamespace(informer=informer))


def accepted(vm: Part, attachments: Iterable[Part]) -> list[str]:
    found = [(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, one) for one in attachments]
    return [one["metadata"]["name"] for one in Attachments(context_of(*found)).accepted(vm)]


def test_the_older_of_two_for_one_disk_brings_it_whatever_machine_they_name() -> None:
    two = [attachment("young", "data", age=1), attachment("old", "data", age=2)]
    assert accepted(machine("root"), two) == ["old"]
    assert accepted(machine("root"), [two[0], attachment("old", "data", age=2, vm="other")]) == []
    images = [
        attachment("young", "i", kind="VirtualImage"),
        attachment("o", "i", age=2, kind="VirtualImage", vm="b"),
    ]
    assert accepted(machine("root"), images) == ["young"]


def test_what_the_spec_has_is_brought_by_nobody_and_what_goes_keeps_the_others_out() -> None:
    assert accepted(machine("root", "data"), [attachment("a", "data")]) == []
    going = attachment("old", "data", age=2, deletionTimestamp="now")
    assert accepted(machine("root"), [going, attachment("young", "data", age=1)]) == []


def test_the_oldest_have_the_sixteen_places() -> None:
    some = [attachment(f"a{number}", f"d{number}", age=number % 10) for number in range(10, 18)]
    kept = accepted(machine(*map(str, range(10))), some)
    assert len(kept) == 6
    assert {"a10", "a11"}.isdisjoint(kept), "the youngest wait"


def change(vm: Part, held: list[Held], wanted: list[str], *attachments: Part, **running: Any) -> Change:
    """What is to be done to a guest that has ``held``, of which ``wanted`` are there by now."""
    names = {one["name"] for one in held} | set(wanted)
    objects = [(VIRTUAL_DISK, disk(name)) for name in names - {"gone"}]
    found = [(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, one) for one in attachments]
    domain = DomainInfo(
        uid="vm", namespace="default", vm_name="vm", generation=1, state=DomainState.RUNNING, reason="booted",
        persistent=True, disks=tuple(DomainDisk("sda", serial_of(one["uid"])) for one in held),
        applied=applied.Applied({"osType": "Generic", **running}, devices=tuple(held)).encode(),
    )  # fmt: skip
    devices = [Device("VirtualDisk", name, f"uid-{name}", None, "1Mi", False, False, None) for name in wanted]
    plugs = HotPlug(context_of(*objects, *found), cast(Instances, None))
    return plugs._change(vm, domain, Dependencies(devices=devices))


def held(name: str, by: str = "") -> Held:
    one: Held = {"kind": "VirtualDisk", "name": name, "uid": f"uid-{name}"}
    if by:
        one["attachment"] = by
    return one


def test_a_device_goes_when_the_spec_or_the_deletion_of_its_attachment_says_so() -> None:
    assert change(machine("root"), [held("root"), held("data")], ["root"]).unplug == [held("data")]
    going = attachment("a", "data", deletionTimestamp="now")
    assert change(machine("root"), [held("root"), held("data", "a")], ["root"], going).unplug == [
        held("data", "a")
    ]


def test_what_an_attachment_that_goes_leaves_to_the_spec_stays_plugged_in() -> None:
    going = attachment("a", "data", deletionTimestamp="now")
    have = [held("root"), held("data", "a")]
    assert change(machine("root", "data"), have, ["root", "data"], going) == Change([], [])


@pytest.mark.parametrize(
    ("spec", "have", "wanted"),
    [
        (["root"], [held("root"), held("data", "a")], ["root"]),
        (["root"], [held("root"), held("gone")], ["root"]),
        (["root", "data"], [held("root"), held("data")], ["root"]),
    ],
    ids=["its attachment is absent", "its disk is absent", "its disk is not ready"],
)
def test_nothing_goes_because_something_is_absent(spec: list[str], have: list[Held], wanted: list[str]) -> None:
    assert change(machine(*spec), have, wanted).unplug == []


def test_what_is_asked_for_and_not_there_is_plugged_in_where_that_is_possible() -> None:
    def plugged(**running: Any) -> list[str]:
        return [
            one.name for one in change(machine("root", "data"), [held("root")], ["root", "data"], **running).plug
        ]

    assert plugged() == ["data"]
    assert plugged(enableParavirtualization=False) == plugged(osType="Legacy") == []


async def test_nothing_comes_to_a_guest_that_leaves_and_it_says_so() -> None:
    """What its other node has ready for it was asked for before."""
    have = held("root")
    domain = DomainInfo(
        uid="vm", namespace="default", vm_name="vm", generation=1, state=DomainState.RUNNING, reason="booted",
        persistent=True, disks=(DomainDisk("sda", serial_of(have["uid"])),),
        applied=applied.Applied({"osType": "Generic"}, devices=(have,)).encode(),
    )  # fmt: skip

    class Host:
        async def facts(self) -> Any:
            return SimpleNamespace(hot_plug=True)

        async def mark(self, marked: DomainInfo) -> None:
            """What it has is noted all the same."""

        async def slots(self, _: str) -> dict[str, Any]:
            return {}

    context = context_of((VIRTUAL_DISK, disk("root")), (VIRTUAL_DISK, disk("data")))
    cast(Any, context).hypervisor, cast(Any, context).witness = Host(), SimpleNamespace(waits=False)
    plugs = HotPlug(context, cast(Instances, Host()))
    wanted = [
        Device("VirtualDisk", name, f"uid-{name}", None, "1Mi", False, False, None) for name in ("root", "data")
    ]
    found = Dependencies(devices=[wanted[0], replace(wanted[1], attachment="a")])
    vm = machine("root")
    vm["metadata"] = {**vm["metadata"], "generation": 1}
    await plugs.settle(vm, domain, found, leaves=True)
    assert (
        plugs.trouble("vm", "a") == "The device is attached once the migration of the virtual machine has ended."
    )
    assert plugs.troubled("vm"), "it is tried again"


async def test_an_attachment_of_what_the_spec_has_is_accepted_and_failed() -> None:
    async with running() as world:
        await world.give_disk()
        await world.make_machine(runPolicy="Manual")
        spec = attachment("own", "vm")["spec"]
        body = {"metadata": {"namespace": "default", "name": "own"}, "spec": spec}
        await world.store.create(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, "default", body)
        failed = await world.phase("Failed", VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, "own")
        assert (find_condition(failed, "Attached") or {})["reason"] == "Conflict"


@pytest.mark.parametrize(
    ("vm", "phase", "attached", "problem"),
    [
        ("owner", "Running", True, 'VirtualDisk "data" is in use by another VM, "owner".'),
        ("owner", "Starting", False, 'VirtualDisk "data" is in use by another VM, "owner".'),
        ("owner", "Running", False, ""),
        ("owner", "Stopped", True, ""),
        ("vm", "Running", True, ""),
    ],
)
def test_a_disk_that_another_machine_has_is_not_ready(vm: str, phase: str, attached: bool, problem: str) -> None:
    ref = {"kind": "VirtualDisk", "name": "data", "attached": attached}
    owner = {
        "metadata": {"namespace": "default", "name": vm, "uid": f"uid-{vm}"},
        "spec": {},
        "status": {"phase": phase, "blockDeviceRefs": [ref]},
    }
    ready = {**disk("data"), "status": {"phase": "Ready"}}
    context = context_of((VIRTUAL_MACHINE, owner), (VIRTUAL_DISK, ready))
    controller = AttachmentController(context, cast(Plugs, None))
    assert controller._device_problem(attachment("a", "data")) == problem


def test_a_disk_of_another_node_is_told_unless_it_is_a_claim_which_comes_by_a_pod() -> None:
    site = {**disk("data"), "status": {"phase": "WaitForFirstConsumer", "storageClassName": "site"}}
    own = {**disk("own"), "status": {"phase": "Ready", "storageClassName": "local"}}
    for one in (site, own):
        one["metadata"] = {**one["metadata"], "annotations": {SELECTED_NODE_ANNOTATION: "wood"}}
    here: Part = {**machine(), "status": {"nodeName": "metal"}}
    classes = [
        {"metadata": {"name": "site", "uid": "s"}, "provisioner": "example.com/csi"},
        {"metadata": {"name": "local", "uid": "l"}, "provisioner": "hyperd.local/directory"},
    ]
    context = context_of((VIRTUAL_DISK, site), (VIRTUAL_DISK, own), *((STORAGE_CLASS, one) for one in classes))
    for claims in (True, False):
        volumes = SimpleNamespace(claims=claims, provisioners=["hyperd.local/directory"])
        cast(Any, context).volumes = volumes
        controller = AttachmentController(context, cast(Plugs, None))
        told = controller._unreachable(attachment("a", "data"), here)
        assert bool(told) != claims
        told = controller._unreachable(attachment("a", "own"), here)
        assert told == 'VirtualDisk "own" is on node wood, the virtual machine on node metal.'
