"""A guest that writes to its disks all the time, one in each kind of pool, while everything is done to these."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperd.controllers.machine.held import serial_of
from hyperd.crashpoints import CrashPoint
from hyperd.errors import HyperdError
from tests.contract.volumes import xfs
from tests.host.inventory import leftovers
from tests.host.machine.agent_guest import booting, log_in, snapshot, with_agent
from tests.host.machine.checking import Checker, built, send
from tests.host.machine.test_attachments import attachment
from tests.host.machine.test_crashes import qemu_pid
from tests.host.machine.writer import device_of
from tests.host.node import Node, wait_until
from tests.host.running import Console, Hyperd, ImageServer, Object, condition, disk, machine, operation

pytestmark = pytest.mark.timeout(400)
MIB = 1 << 20
CLASSES = {"local": "raw", "fast": "local", "raw": "fast"}
"""Of the disks, and where each goes."""
_SPEED = 12 * MIB
"""Of a move: slow enough for something to happen meanwhile."""
SNAPSHOTTED = ("local", "fast")


@pytest.fixture(scope="module")
def daemon(node: Node, agents: ImageServer, block_disk: Path, shared_blocks: xfs.InNode) -> Iterator[Hyperd]:
    pools = (
        f'{{name = "fast", kind = "reflink", path = "{shared_blocks.path}/pool"}}, '
        f'{{name = "raw", kind = "block", path = "{block_disk}"}}'
    )
    settings = {"storage.pools": f"[{pools}]", "storage.move_bytes_per_second": _SPEED}
    with booting(node, agents, settings) as running:
        yield running


def of_class(name: str, class_: str, size: str = "", *, source: tuple[str, str] | None = None) -> Object:
    """``source`` is a kind and a name."""
    made = disk(name, size=size)
    made["spec"].setdefault("persistentVolumeClaim", {})["storageClassName"] = class_
    if source is not None:
        kind, of = source
        made["spec"]["dataSource"] = {"type": "ObjectRef", "objectRef": {"kind": kind, "name": of}}
    return made


def exported(daemon: Hyperd, word: str, name: str, to: Path) -> Path:
    """The content of a disk or snapshot, as ``hv disk export`` gets it."""
    group = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default"
    to.write_bytes(daemon.client.raw("GET", f"{group}/{word}/{name}/export?format=raw"))
    return to


def has(daemon: Hyperd, name: str, **wanted: str) -> None:
    daemon.wait("vd", name, lambda one: one["status"] | wanted == one["status"], timeout=120)


@pytest.fixture(scope="module")
def program(daemon: Hyperd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checker, which the guest has as well, behind a shell."""
    program = built(tmp_path_factory.mktemp("checker"))
    with log_in(daemon) as console:
        send(console, program)
    return program


def test_whatever_is_done_to_a_disk_its_guest_writes_on_and_every_copy_is_of_one_moment(
    daemon: Hyperd, program: Path, tmp_path: Path
) -> None:
    checkers = {class_: Checker(class_, seed) for seed, class_ in enumerate(CLASSES, start=11)}
    with Console(daemon, "vm") as console:
        for class_, checker in checkers.items():
            daemon.create(of_class(class_, class_, "16Mi"))
            daemon.create(attachment(class_, class_, "vm"))
            daemon.wait_phase("vmbda", class_, "Attached")
            uid = daemon.get("vd", class_)["metadata"]["uid"]
            checker.begin(console, device_of(console, serial_of(uid)))

        for class_ in CLASSES:
            larger = {"spec": {"persistentVolumeClaim": {"size": "24Mi"}}}
            daemon.patch("vd", class_, larger)
        for class_, checker in checkers.items():
            has(daemon, class_, capacity="24Mi", phase="Ready")
            checker.go_on(console)

        for class_ in SNAPSHOTTED:
            _is_copied_by_a_snapshot(daemon, console, checkers[class_], program, tmp_path)
        daemon.create(snapshot("refused", "raw", requiredConsistency=False))
        told = daemon.wait_phase("vds", "refused", "Failed")
        assert "cannot be snapshotted" in condition(told, "VirtualDiskSnapshotReady")["message"]
        daemon.delete("vds", "refused")

        for class_, other in CLASSES.items():
            daemon.patch("vd", class_, {"spec": {"persistentVolumeClaim": {"storageClassName": other}}})
        for class_, other in CLASSES.items():
            has(daemon, class_, storageClassName=other, phase="Ready")
            checkers[class_].go_on(console)

        assert {class_: checker.end(console) for class_, checker in checkers.items()} == dict.fromkeys(
            CLASSES, "ok"
        )
        steps = {class_: checker.go_on(console, 0) for class_, checker in checkers.items()}
    for class_, checker in checkers.items():
        daemon.delete("vmbda", class_)
        daemon.wait_gone("vmbda", class_)
        copy = exported(daemon, "virtualdisks", class_, tmp_path / class_)
        assert copy.stat().st_size == 24 * MIB
        assert checker.judge(program, copy, least=steps[class_]) == "ok"
        copy.unlink()
        daemon.delete("vd", class_)
        daemon.wait_gone("vd", class_)
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


def _is_copied_by_a_snapshot(
    daemon: Hyperd, console: Console, checker: Checker, program: Path, folder: Path
) -> None:
    """Its snapshot, and a disk made of that, are of one moment, and go while the guest writes."""
    name = f"of-{checker.word}"
    least = checker.go_on(console)
    daemon.create(snapshot(name, checker.word, requiredConsistency=False))
    daemon.wait_phase("vds", name, "Ready")
    checker.go_on(console)
    daemon.create(of_class(name, checker.word, source=("VirtualDiskSnapshot", name)))
    daemon.wait_phase("vd", name, "Ready")
    for word in ("virtualdisksnapshots", "virtualdisks"):
        copy = exported(daemon, word, name, folder / name)
        assert checker.judge(program, copy, least=least) == "ok", word
    assert "has not what was acknowledged" in checker.judge(program, copy, least=1 << 30)
    with copy.open("r+b") as file:
        # Of one that was written: another one is as it is to be.
        while not any(file.read(4096)):
            pass
        file.seek(-4096, 1)
        file.write(bytes(4096))
    assert "is of another moment: block" in checker.judge(program, copy, least=least)
    for word in ("vds", "vd"):
        daemon.delete(word, name)
        daemon.wait_gone(word, name)
    checker.go_on(console)


def attached(daemon: Hyperd, console: Console, name: str, size: str) -> str:
    """The device in the guest of a new disk in the folder of files."""
    daemon.create(of_class(name, "local", size))
    daemon.create(attachment(name, name, "vm"))
    daemon.wait_phase("vmbda", name, "Attached")
    return device_of(console, serial_of(daemon.get("vd", name)["metadata"]["uid"]))


def removed(daemon: Hyperd, name: str) -> None:
    for word in ("vmbda", "vd"):
        if daemon.find(word, name) is not None:
            daemon.delete(word, name)
        daemon.wait_gone(word, name)


def test_a_disk_that_is_detached_while_it_moves_is_moved_without_its_guest(
    daemon: Hyperd, program: Path, tmp_path: Path
) -> None:
    checker = Checker("leaves", 41, blocks=16384)
    with Console(daemon, "vm") as console:
        checker.begin(console, attached(daemon, console, "leaves", "64Mi"))
        daemon.patch("vd", "leaves", {"spec": {"persistentVolumeClaim": {"storageClassName": "raw"}}})
        daemon.wait_phase("vd", "leaves", "Migrating")
        assert checker.end(console) == "ok"
        steps = checker.go_on(console, 0)
    assert daemon.get("vd", "leaves")["status"]["storageClassName"] == "local", "it is under way yet"
    daemon.delete("vmbda", "leaves")
    daemon.wait_gone("vmbda", "leaves")
    has(daemon, "leaves", storageClassName="raw", phase="Ready")
    copy = exported(daemon, "virtualdisks", "leaves", tmp_path / "leaves")
    assert checker.judge(program, copy, least=steps) == "ok"
    removed(daemon, "leaves")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


def test_the_power_is_cut_when_the_status_names_the_copy(
    daemon: Hyperd, program: Path, shared_blocks: xfs.InNode, tmp_path: Path
) -> None:
    checker, vm = Checker("cut", 51), daemon.get("vm", "vm")
    with Console(daemon, "vm") as console:
        checker.begin(console, attached(daemon, console, "cut", "16Mi"))
        daemon.stop()
        daemon.start(env={"HYPERD_CRASH_AT": CrashPoint.MOVE_AFTER_SWITCH})
    with Console(daemon, "vm") as console:
        steps = checker.go_on(console)
    with contextlib.suppress(HyperdError, OSError):
        daemon.patch("vd", "cut", {"spec": {"persistentVolumeClaim": {"storageClassName": "fast"}}})
    daemon.wait_dead()
    daemon.node.exec(["kill", "-9", str(qemu_pid(daemon, vm))])
    shared_blocks.cut()
    daemon.start()
    has(daemon, "cut", storageClassName="fast", phase="Ready")
    daemon.delete("vmbda", "cut")
    daemon.wait_gone("vmbda", "cut")
    copy = exported(daemon, "virtualdisks", "cut", tmp_path / "cut")
    assert checker.judge(program, copy, least=steps, after_a_cut=True) == "ok"
    removed(daemon, "cut")
    daemon.wait_phase("vm", "vm", "Running")
    with log_in(daemon, boots=2) as console:
        send(console, program)


def test_a_machine_goes_back_and_another_is_made_of_it_while_its_guest_writes(
    daemon: Hyperd, program: Path, tmp_path: Path
) -> None:
    checkers = {f"{class_}-kept": Checker(class_, seed) for seed, class_ in enumerate(SNAPSHOTTED, start=31)}
    with_agent(daemon)
    with Console(daemon, "vm") as console:
        for name, checker in checkers.items():
            daemon.create(of_class(name, checker.word, "16Mi"))
            daemon.create(attachment(name, name, "vm"))
            daemon.wait_phase("vmbda", name, "Attached")
            uid = daemon.get("vd", name)["metadata"]["uid"]
            checker.begin(console, device_of(console, serial_of(uid)))
        least = {name: checker.go_on(console) for name, checker in checkers.items()}
        spec = {"virtualMachineName": "vm"}
        daemon.create({**snapshot("whole"), "kind": "VirtualMachineSnapshot", "spec": spec})
        daemon.wait_phase("vms", "whole", "Ready")
        for checker in checkers.values():
            checker.go_on(console)
    making: Object = {**snapshot("make"), "kind": "VirtualMachineSnapshotOperation"}
    making["spec"] = {
        "type": "CreateVirtualMachine",
        "virtualMachineSnapshotName": "whole",
        "createVirtualMachine": {"mode": "Strict", "customization": {"namePrefix": "copy-"}},
    }
    daemon.create(making)
    daemon.wait_phase("vmsop", "make", "Completed", timeout=90)
    back = {"mode": "Strict", "virtualMachineSnapshotName": "whole"}
    restored = daemon.create(operation("Restore", "vm", restore=back))
    daemon.wait_phase("vmop", restored["metadata"]["name"], "Completed", timeout=90)
    for vm in ("vm", "copy-vm"):
        daemon.delete("vm", vm)
        daemon.wait_gone("vm", vm)
    for name, checker in checkers.items():
        for disk_ in (name, f"copy-{name}"):
            copy = exported(daemon, "virtualdisks", disk_, tmp_path / disk_)
            assert checker.judge(program, copy, least=least[name]) == "ok", disk_
    daemon.delete("vms", "whole")
    daemon.wait_gone("vms", "whole")
    for word in ("vmbda", "vd"):
        for obj in daemon.list(word, "default"):
            name = obj["metadata"]["name"]
            daemon.delete(word, name)
            daemon.wait_gone(word, name)
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


def test_a_machine_boots_from_a_partition_and_starts_from_it_again(daemon: Hyperd) -> None:
    daemon.create(of_class("boot", "raw", source=("VirtualImage", "agent")))
    daemon.create(machine("boot", "boot", memory={"size": "160Mi"}, terminationGracePeriodSeconds=1))
    for _ in range(2):
        vm = daemon.wait_phase("vm", "boot", "Running")
        daemon.wait_console(vm, "login:")
        stopping = daemon.create(operation("Stop", "boot"))
        daemon.wait_phase("vmop", stopping["metadata"]["name"], "Completed")
        daemon.wait_phase("vm", "boot", "Stopped")
        daemon.create(operation("Start", "boot"))
    daemon.wait_phase("vm", "boot", "Running")
    daemon.delete("vm", "boot")
    daemon.wait_gone("vm", "boot")
    daemon.delete("vd", "boot")
    daemon.wait_gone("vd", "boot")
