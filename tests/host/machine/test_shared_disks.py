"""One disk that two machines want: it is with one of them at a time, and who waits says for whom."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from hyperd.errors import Forbidden, Invalid, NotFound
from tests.host.node import wait_until
from tests.host.running import Hyperd, Object, condition, disk, image, machine, operation

MOVES = 3
_HOLD_SECONDS = 3.0
"""How long who waits is watched for not getting it."""


@pytest.fixture(scope="module")
def pair(hyperd: Hyperd) -> Iterator[tuple[str, str]]:
    """The names of two machines that run, each with a root disk ``<name>-root``."""
    stem = f"sh{time.monotonic_ns() % 10**8}"
    names = f"{stem}-owner", f"{stem}-waiter"
    for name in names:
        hyperd.create(disk(f"{name}-root", image="guest"))
        hyperd.create(machine(name, f"{name}-root", terminationGracePeriodSeconds=0))
    for name in names:
        hyperd.wait_phase("vm", name, "Running")
    yield names
    for word, suffix in (("vm", ""), ("vd", "-root")):
        for name in names:
            hyperd.delete(word, f"{name}{suffix}")
            hyperd.wait_gone(word, f"{name}{suffix}")


@pytest.fixture
def shared(hyperd: Hyperd, pair: tuple[str, str]) -> Iterator[str]:
    """A Ready disk, which belongs to nobody again afterwards."""
    name = f"{pair[0]}-{time.monotonic_ns() % 10**6}"
    hyperd.create(disk(name, size="16Mi"))
    hyperd.wait_phase("vd", name, "Ready")
    yield name
    for vm in pair:
        has(hyperd, vm)
    for obj in hyperd.list("vmbda", "default"):
        if obj["spec"]["blockDeviceRef"]["name"] == name:
            with contextlib.suppress(NotFound):
                hyperd.delete("vmbda", obj["metadata"]["name"])
            hyperd.wait_gone("vmbda", obj["metadata"]["name"])
    hyperd.delete("vd", name)
    hyperd.wait_gone("vd", name)


def has(hyperd: Hyperd, vm: str, *disks: str) -> None:
    """Give the machine's spec these disks beside its root."""
    refs = [{"kind": "VirtualDisk", "name": name} for name in (f"{vm}-root", *disks)]
    hyperd.patch("vm", vm, {"spec": {"blockDeviceRefs": refs}})


def attach(hyperd: Hyperd, vm: str, name: str) -> str:
    """Make an attachment of the disk to the machine; its name."""
    made = f"{name}-to-{vm.rpartition('-')[2]}"
    hyperd.create({
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachineBlockDeviceAttachment",
        "metadata": {"name": made, "namespace": "default"},
        "spec": {"virtualMachineName": vm, "blockDeviceRef": {"kind": "VirtualDisk", "name": name}},
    })  # fmt: skip
    return made


def attached(vm: Object, name: str) -> bool:
    refs = vm["status"].get("blockDeviceRefs", ())
    return any(ref["name"] == name and ref["attached"] for ref in refs)


def inside(hyperd: Hyperd, vm: str, name: str) -> Object:
    """Wait until the machine has the disk; it needs no restart for that."""
    found = hyperd.wait("vm", vm, lambda one: attached(one, name))
    assert not found["status"].get("restartAwaitingChanges")
    return found


def users(hyperd: Hyperd, name: str) -> list[Object]:
    found: list[Object] = hyperd.get("vd", name)["status"].get("attachedToVirtualMachines", [])
    return found


def mounted_by(hyperd: Hyperd, name: str, vm: str) -> None:
    """Wait until the disk says that this machine has it, and no other."""

    def so(found: Object) -> bool:
        entries = found["status"].get("attachedToVirtualMachines", ())
        return [entry["name"] for entry in entries if entry["mounted"]] == [vm]

    hyperd.wait("vd", name, so)


def held_back(hyperd: Hyperd, vm: str, name: str) -> None:
    """The machine does not get the disk for a while."""
    with pytest.raises(TimeoutError):
        hyperd.wait("vm", vm, lambda one: attached(one, name), timeout=_HOLD_SECONDS)


def test_a_machine_waits_for_a_disk_that_another_one_has_and_gets_it_live(
    hyperd: Hyperd, pair: tuple[str, str], shared: str
) -> None:
    owner, waiter = pair
    has(hyperd, owner, shared)
    inside(hyperd, owner, shared)
    has(hyperd, waiter, shared)
    waits = hyperd.wait("vm", waiter, lambda one: condition(one, "BlockDevicesReady").get("status") == "False")
    assert condition(waits, "BlockDevicesReady")["message"] == (
        f'VirtualDisk "{shared}" is in use by another VM, "{owner}".'
    )
    held_back(hyperd, waiter, shared)
    has(hyperd, owner)
    inside(hyperd, waiter, shared)
    mounted_by(hyperd, shared, waiter)


def test_an_attachment_waits_for_a_disk_that_another_machine_has_and_counts_for_nothing_meanwhile(
    hyperd: Hyperd, pair: tuple[str, str], shared: str
) -> None:
    owner, waiter = pair
    has(hyperd, owner, shared)
    inside(hyperd, owner, shared)
    made = attach(hyperd, waiter, shared)
    waits = hyperd.wait("vmbda", made, lambda one: condition(one, "BlockDeviceReady").get("status") == "False")
    assert condition(waits, "BlockDeviceReady")["reason"] == "BlockDeviceNotReady"
    assert owner in condition(waits, "BlockDeviceReady")["message"]
    held_back(hyperd, waiter, shared)
    assert [user["name"] for user in users(hyperd, shared)] == [owner]
    has(hyperd, owner)
    hyperd.wait_phase("vmbda", made, "Attached")
    inside(hyperd, waiter, shared)


def test_a_disk_leaves_a_machine_that_waits_for_one_that_does_not_exist_yet(
    hyperd: Hyperd, pair: tuple[str, str], shared: str
) -> None:
    owner, later = pair[0], f"{shared}-later"
    has(hyperd, owner, shared)
    inside(hyperd, owner, shared)
    has(hyperd, owner, shared, later)
    hyperd.wait("vm", owner, lambda one: condition(one, "BlockDevicesReady").get("status") == "False")
    has(hyperd, owner, later)
    hyperd.wait("vm", owner, lambda one: not attached(one, shared))
    hyperd.create(disk(later, size="16Mi"))
    inside(hyperd, owner, later)
    has(hyperd, owner)
    hyperd.delete("vd", later)
    hyperd.wait_gone("vd", later)


def test_a_disk_moves_by_attachments_that_are_deleted_and_made_at_once(
    hyperd: Hyperd, pair: tuple[str, str], shared: str
) -> None:
    """As the CSI driver does of a cluster whose nodes are machines here."""
    before = attach(hyperd, pair[0], shared)
    hyperd.wait_phase("vmbda", before, "Attached")
    for number in range(MOVES):
        vm = pair[(number + 1) % 2]
        hyperd.delete("vmbda", before)
        made: list[str] = []

        def again(vm: str = vm, made: list[str] = made) -> bool:
            # It is refused as long as the one before is on its way out.
            with contextlib.suppress(Invalid, Forbidden):
                made.append(attach(hyperd, vm, shared))
            return bool(made)

        wait_until(again, timeout=30, what=f"an attachment to {vm}")
        before = made[0]
        hyperd.wait_phase("vmbda", before, "Attached")
        inside(hyperd, vm, shared)
        mounted_by(hyperd, shared, vm)


def test_of_two_that_ask_at_once_one_gets_the_disk(hyperd: Hyperd, pair: tuple[str, str], shared: str) -> None:
    has(hyperd, pair[0], shared)
    made = attach(hyperd, pair[1], shared)

    def holders() -> list[str]:
        return [vm for vm in pair if attached(hyperd.get("vm", vm), shared)]

    first = hyperd.wait("vd", shared, lambda one: any(
        user["mounted"] for user in one["status"].get("attachedToVirtualMachines", ())
    ))  # fmt: skip
    assert len([user for user in first["status"]["attachedToVirtualMachines"] if user["mounted"]]) == 1
    until = time.monotonic() + _HOLD_SECONDS
    while time.monotonic() < until:
        assert len(holders()) == 1
    hyperd.delete("vmbda", made)


def test_a_disk_of_which_an_image_is_made_is_attached_once_that_is_done(
    hyperd: Hyperd, pair: tuple[str, str], shared: str
) -> None:
    made = image(f"{shared}-image", "")
    made["spec"]["dataSource"] = {"type": "ObjectRef", "objectRef": {"kind": "VirtualDisk", "name": shared}}
    hyperd.create(made)
    attachment = attach(hyperd, pair[1], shared)
    hyperd.wait_phase("vi", f"{shared}-image", "Ready")
    hyperd.wait_phase("vmbda", attachment, "Attached")
    hyperd.delete("vi", f"{shared}-image")


def test_an_attachment_deleted_while_its_machine_is_off_does_not_come_back(
    hyperd: Hyperd, pair: tuple[str, str], shared: str
) -> None:
    waiter = pair[1]
    made = attach(hyperd, waiter, shared)
    hyperd.wait_phase("vmbda", made, "Attached")
    stop = hyperd.create(operation("Stop", waiter, force=True))
    hyperd.wait_phase("vmop", stop["metadata"]["name"], "Completed")
    hyperd.delete("vmbda", made)
    hyperd.wait_gone("vmbda", made)
    start = hyperd.create(operation("Start", waiter))
    hyperd.wait_phase("vmop", start["metadata"]["name"], "Completed")
    hyperd.wait_phase("vm", waiter, "Running")
    held_back(hyperd, waiter, shared)
    assert users(hyperd, shared) == []
