"""Disks that are used before their image is on the node, under a guest that runs, whoever dies meanwhile.

The image has a tail that no guest reads. Where the registry has that wrong the fetch does not end before it is put
right; so the tests say when.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperd.controllers.machine.held import serial_of
from hyperd.crashpoints import CrashPoint
from hyperd.errors import HyperdError
from tests.host.far import registry
from tests.host.inventory import leftovers
from tests.host.machine.agent_guest import snapshot
from tests.host.machine.writer import device_of
from tests.host.node import Node, wait_until
from tests.host.running import Console, Hyperd, ImageServer, Object, condition, disk, image, machine, operation

pytestmark = pytest.mark.timeout(400)
TAIL = 2 << 20
WRITTEN_AT = 40
"""MiB: beyond what the image has."""


class Blob:
    """The image's layer in the registry's folder."""

    def __init__(self, daemon: Hyperd) -> None:
        blobs = (daemon.state_dir / "registry/docker/registry/v2/blobs").rglob("data")
        self.path = max(blobs, key=lambda path: path.stat().st_size)

    def flip(self, offset: int) -> None:
        """One byte, at ``offset`` or from the end; twice is never."""
        with self.path.open("r+b") as file:
            file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))

    def hold(self) -> None:
        """Have the fetch wait at the end, or no more."""
        self.flip(-TAIL // 2)


@pytest.fixture(scope="module")
def tailed(node: Node, guest_image: Path) -> Iterator[ImageServer]:
    folder = node.make_dir()
    path = folder / "guest.qcow2"
    shutil.copy(guest_image, path)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.truncate(-(-size // TAIL) * TAIL)
        file.seek(0, os.SEEK_END)
        file.write(os.urandom(TAIL))
    server = ImageServer(node, folder, port=8097)
    yield server
    server.close()


@pytest.fixture
def daemon(node: Node, tailed: ImageServer) -> Iterator[Hyperd]:
    node.ensure_libvirtd()
    running = Hyperd(node, settings={"imports.lazy": "true", "imports.lazy_from_bytes": 0})
    running.start()
    running.create(image("guest", f"{tailed.url}/guest.qcow2"))
    running.wait_phase("vi", "guest", "Ready")
    yield running
    running.stop()
    running.client.close()
    node.remove_domains()
    for pid in servers(running):
        os.kill(pid, signal.SIGKILL)


def servers(daemon: Hyperd) -> list[int]:
    """Pids of who serves images that are being fetched."""
    return processes(daemon, b"registry.lazy")


def processes(daemon: Hyperd, word: bytes) -> list[int]:
    """Pids of the daemon's processes with ``word`` in their command line, as this test sees them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if word in words and len(words) > 2 and words[-2].startswith(str(daemon.dir).encode()):
                found.append(int(path.parent.name))
    return found


def fetched(daemon: Hyperd, name: str, reason: str) -> Object:
    """The disk, once it is Ready and its image is on its way, for that reason."""

    def is_so(found: Object) -> bool:
        told = condition(found, "ImageFetched")
        return bool((found.get("status") or {}).get("phase") == "Ready" and told.get("reason") == reason)

    return daemon.wait("vd", name, is_so, timeout=60)


def settled(daemon: Hyperd, name: str) -> Object:
    """The disk, once it is like any other."""

    def is_so(found: Object) -> bool:
        return found["status"].get("phase") == "Ready" and not condition(found, "ImageFetched")

    return daemon.wait("vd", name, is_so, timeout=60)


def served(daemon: Hyperd) -> bool:
    """Whether the guest has an image open that somebody serves."""
    (name,) = daemon.node.virsh("list", "--name").split()
    return "protocol='nbd'" in daemon.node.virsh("dumpxml", name)


def started(daemon: Hyperd) -> int:
    """How often the machine's guest was."""
    return sum(one.get("count", 1) for one in daemon.events("vm") if one["reason"] == "Started")


def boot(daemon: Hyperd, *disks: str, count: int = 1) -> Console:
    vm = daemon.wait_phase("vm", "vm", "Running", timeout=120)
    wait_until(lambda: daemon.console_log(vm).count("login:") >= count, timeout=150, what="a login")
    console = Console(daemon, "vm")
    console.log_in()
    return console


def test_a_guest_runs_while_its_image_comes_and_goes_on_with_it(daemon: Hyperd) -> None:
    blob = Blob(daemon)
    blob.hold()
    daemon.create(disk("root", image="guest", size="64Mi"))
    daemon.create(machine("vm", "root", terminationGracePeriodSeconds=0))
    found = fetched(daemon, "root", "ImageDamaged")
    assert 50 < float(found["status"]["progress"].rstrip("%")) < 100
    with boot(daemon) as console:
        assert served(daemon)
        console.run("dd if=/dev/sda bs=1M count=27 | md5sum > /tmp/before")
        console.run(
            f"dd if=/dev/urandom of=/tmp/mine bs=1M count=2; dd if=/tmp/mine of=/dev/sda bs=1M seek={WRITTEN_AT}"
        )

        # what has to wait says so
        daemon.create(snapshot("early", of="root", requiredConsistency=False))
        daemon.patch("vd", "root", {"spec": {"persistentVolumeClaim": {"size": "80Mi"}}})
        told = daemon.wait("vd", "root", lambda one: bool(condition(one, "Resizing")))
        assert "image is still being fetched" in condition(told, "Resizing")["message"]

        # kill -9 of the daemon: the guest does not notice, and the next one adopts who serves
        (server,) = servers(daemon)
        daemon.kill()
        daemon.start()
        fetched(daemon, "root", "ImageDamaged")
        assert servers(daemon) == [server]

        # kill -9 of who serves: the guest's reads end in a pause, and go on
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: servers(daemon) not in ([], [server]), timeout=30, what="another server")
    with Console(daemon, "vm") as console:  # its shell is there still
        console.run("cold() { echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/sda bs=1M $@ 2>/dev/null; }")
        again = "cold count=27 | md5sum | cmp - /tmp/before && echo sa''me"
        assert "same" in console.run(again, timeout=90)
        write = f"dd if=/tmp/mine of=/dev/sda bs=1M seek={WRITTEN_AT} conv=fsync"
        console.run(f"(while :; do {write}; done 2>/dev/null) & echo")

        blob.hold()
        settled(daemon, "root")
        assert not served(daemon)
        assert daemon.wait_phase("vds", "early", "Ready")
        daemon.wait("vd", "root", lambda one: one["status"]["capacity"] == "80Mi")
    assert started(daemon) == 1, daemon.log()
    with Console(daemon, "vm") as console:
        console.run("kill %1; wait; sync")
        assert "same" in console.run(again)
        mine = f"cold skip={WRITTEN_AT} count=2 | cmp - /tmp/mine && echo sa''me"
        assert "same" in console.run(mine)
    told_so = [one["message"] for one in daemon.events("root") if one["reason"] == "ImageFetched"]
    assert any("its guest was held for" in message for message in told_so)

    seen = daemon.console_log(daemon.get("vm", "vm")).count("login:")
    made = daemon.create(operation("Restart", "vm"))
    daemon.wait_phase("vmop", made["metadata"]["name"], "Completed")
    with boot(daemon, count=seen + 1) as console:
        assert "80" in console.run("echo $(($(cat /sys/block/sda/size) / 2048))")
    daemon.delete("vm", "vm")
    daemon.delete("vds", "early")
    daemon.delete("vd", "root")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


def test_an_image_that_comes_wrong_stops_its_guest_and_says_so(daemon: Hyperd) -> None:
    blob = Blob(daemon)
    flipped = [4096 + offset for offset in range(1 << 20, blob.path.stat().st_size - 2 * TAIL, 1 << 20)]
    for offset in flipped:
        blob.flip(offset)
    daemon.create(disk("root", image="guest"))
    daemon.create(machine("vm", "root", terminationGracePeriodSeconds=0))
    found = fetched(daemon, "root", "DamageRead")
    assert "something else than image" in condition(found, "ImageFetched")["message"]

    def says_so(vm: Object) -> bool:
        return 'VirtualDisk "root" could not be read' in condition(vm, "Running").get("message", "")

    vm = daemon.wait("vm", "vm", says_so, timeout=120)
    assert vm["status"]["phase"] == "Pause"
    for offset in flipped:
        blob.flip(offset)
    boot(daemon).close()
    settled(daemon, "root")


def test_a_guest_waits_for_a_registry_that_hangs_and_sees_no_error(node: Node, tailed: ImageServer) -> None:
    node.ensure_libvirtd()
    with registry(node, node.make_dir(), mbit=16, milliseconds=5) as far:
        daemon = Hyperd(
            node, settings={"imports.lazy": "true", "imports.lazy_from_bytes": 0, "registry.url": far.url}
        )
        with daemon:
            daemon.create(image("guest", f"{tailed.url}/guest.qcow2"))
            daemon.wait_phase("vi", "guest", "Ready")
            for path in (daemon.state_dir / "images").glob("*.qcow2"):
                path.unlink()  # who imports for a registry elsewhere has it
            daemon.create(disk("root", image="guest"))
            fetched(daemon, "root", "Fetching")
            far.way.send_signal(signal.SIGSTOP)
            try:
                daemon.create(machine("vm", "root", terminationGracePeriodSeconds=0))
                found = fetched(daemon, "root", "WaitingForRegistry")
                assert "Guests that read what has not come yet wait" in condition(found, "ImageFetched")["message"]
                assert float(found["status"]["progress"].rstrip("%")) < 80
                daemon.wait_phase("vm", "vm", "Running", timeout=60)
                (name,) = node.virsh("list", "--name").split()
                assert "running" in node.virsh("domstate", name)
            finally:
                far.way.send_signal(signal.SIGCONT)
            boot(daemon).close()
            settled(daemon, "root")
            assert condition(daemon.get("vm", "vm"), "Running")["status"] == "True"
    node.remove_domains()


def test_a_disk_that_is_deleted_meanwhile_leaves_nothing(daemon: Hyperd) -> None:
    Blob(daemon).hold()
    daemon.create(disk("root", image="guest"))
    daemon.create(machine("vm", "root", terminationGracePeriodSeconds=0))
    fetched(daemon, "root", "ImageDamaged")
    daemon.wait_phase("vm", "vm", "Running")
    daemon.delete("vm", "vm")
    daemon.delete("vd", "root")
    daemon.wait_gone("vd", "root")
    folder = daemon.state_dir / "images"
    wait_until(lambda: not list(folder.iterdir()), timeout=90, what="the end of the fetch")
    assert not leftovers(daemon)


def test_a_crash_at_each_step_of_a_guest_that_goes_on_with_its_image(daemon: Hyperd) -> None:
    blob = Blob(daemon)
    blob.hold()
    crash_at(daemon, CrashPoint.LAZY_AFTER_RECORD)
    with contextlib.suppress(HyperdError, OSError):
        daemon.create(disk("root", image="guest"))
    daemon.wait_dead()
    daemon.start()
    with contextlib.suppress(HyperdError):
        daemon.create(disk("root", image="guest"))
    daemon.create(disk("other", image="guest", size="64Mi"))
    daemon.create(machine("vm", "root", "other", terminationGracePeriodSeconds=0))
    for name in ("root", "other"):
        fetched(daemon, name, "ImageDamaged")
    with boot(daemon) as console:
        # a guest names its disks in the order in which it has looked at them
        where = device_of(console, serial_of(daemon.get("vd", "other")["metadata"]["uid"]))
        written = console.run(f"echo kept | dd of={where} bs=1M seek={WRITTEN_AT} conv=fsync && echo wr''itten")
        assert "written" in written
    daemon.stop()
    blob.hold()
    for point in (CrashPoint.LAZY_AFTER_OVERLAY, CrashPoint.LAZY_AFTER_PIVOT, CrashPoint.LAZY_AFTER_COMMIT):
        daemon.start(env={"HYPERD_CRASH_AT": point}, ready=False)
        daemon.wait_dead()
    daemon.start()
    for name in ("root", "other"):
        settled(daemon, name)
    daemon.wait_phase("vm", "vm", "Running")
    assert not served(daemon)
    with Console(daemon, "vm") as console:  # its shell is there still
        read = f"echo 3 > /proc/sys/vm/drop_caches; dd if={where} bs=1M skip={WRITTEN_AT} count=1 | head -c 4"
        assert "kept" in console.run(read)
    names = {path.name for path in (daemon.state_dir / "volumes").glob("[!.]*")}
    assert all(name.endswith(".fetched.qcow2") for name in names), names
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


def crash_at(daemon: Hyperd, point: CrashPoint) -> None:
    daemon.stop()
    daemon.start(env={"HYPERD_CRASH_AT": point})
