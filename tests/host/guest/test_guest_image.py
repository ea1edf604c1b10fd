"""The small guest itself: what other tests rely on when they boot it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import guest
from tests.host.running import BOOT_SECONDS

OVMF = Path("/usr/share/OVMF")


class Machine:
    """A QEMU process with its serial line and its monitor."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.seen = b""
        self._serial = _connect(folder / "serial")
        self._monitor = _connect(folder / "qmp").makefile("rw")
        self._monitor.readline()
        self.command("qmp_capabilities")

    def wait_for(self, pattern: str, *, seconds: float = BOOT_SECONDS) -> str:
        """Read the serial line until ``pattern``; what came before it is consumed."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern.encode(), self.seen)
            if match:
                self.seen = self.seen[match.end() :]
                return match.group().decode()
            self._serial.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                data = self._serial.recv(65536)
            except TimeoutError:
                data = b""
            if not data:
                pytest.fail(f"{pattern!r} did not come; the console ended with {self.seen[-2000:]!r}")
            self.seen += data

    def type(self, text: str) -> None:
        self._serial.sendall(text.encode())

    def command(self, name: str) -> None:
        self._monitor.write(json.dumps({"execute": name}) + "\n")
        self._monitor.flush()


def _connect(path: Path) -> socket.socket:
    deadline = time.monotonic() + 20
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return connection


@contextmanager
def running(folder: Path, *arguments: str, memory: int = 96) -> Iterator[Machine]:
    """Boot with ``memory`` MiB; OVMF and GRUB together need more than BIOS does."""
    argv = [
        *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1", "-m", str(memory)),
        *("-display", "none", "-nodefaults"),
        *("-chardev", f"socket,id=s,path={folder}/serial,server=on,wait=off", "-serial", "chardev:s"),
        *("-qmp", f"unix:{folder}/qmp,server=on,wait=off"),
        *("-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="),
        *arguments,
    ]
    process = subprocess.Popen(argv)
    try:
        yield Machine(process, folder)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    overlay = tmp_path / "disk.qcow2"
    base = guest.image("qcow2")
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "qcow2", str(overlay)], check=True
    )
    return overlay


def virtio(disk: Path, form: str = "qcow2") -> tuple[str, ...]:
    return ("-drive", f"file={disk},if=virtio,format={form}")


def uefi(folder: Path) -> tuple[str, ...]:
    variables = folder / "vars.fd"
    shutil.copyfile(OVMF / "OVMF_VARS_4M.fd", variables)
    return (
        *("-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
    )


def test_bios_disk_logs_in_keeps_data_over_reboot_and_obeys_the_power_button(tmp_path: Path, disk: Path) -> None:
    with running(tmp_path, *virtio(disk)) as machine:
        machine.wait_for("MEDIA=disk")
        machine.wait_for("BOOTS=1")
        machine.wait_for("guest login: ")
        machine.type("root\n")
        machine.wait_for("# ")
        machine.type("ip -4 addr show dev eth0; reboot\n")
        machine.wait_for(r"inet 10\.0\.2\.15/24")
        machine.wait_for("GOODBYE=guest")
        machine.wait_for("BOOTS=2")
        machine.wait_for("guest login: ")
        machine.command("system_powerdown")
        machine.wait_for("GOODBYE=guest")
        assert machine.process.wait(30) == 0


def test_uefi_disk_reaches_the_login_prompt(tmp_path: Path, disk: Path) -> None:
    with running(tmp_path, *uefi(tmp_path), *virtio(disk), memory=256) as machine:
        machine.wait_for("BOOTS=1")
        machine.wait_for("guest login: ")


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_iso_boots_from_a_cd_drive(tmp_path: Path, firmware: str) -> None:
    iso = guest.image("iso")
    drive = ("-drive", f"file={iso},if=none,id=cd,format=raw,readonly=on", "-device", "ide-cd,drive=cd")
    with running(tmp_path, *(uefi(tmp_path) if firmware == "uefi" else ()), *drive, memory=256) as machine:
        machine.wait_for("MEDIA=cd")
        machine.wait_for("guest login: ")


def test_a_cloud_init_seed_names_the_guest_and_runs_its_commands(tmp_path: Path, disk: Path) -> None:
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "meta-data").write_text("instance-id: one\nlocal-hostname: from-meta\n")
    (seed / "user-data").write_text("#cloud-config\nruncmd:\n  - echo SEEDED=$((6 * 7))\nusers: []\n")
    iso = tmp_path / "seed.iso"
    subprocess.run(["genisoimage", "-quiet", "-V", "cidata", "-J", "-r", "-o", iso, seed], check=True)
    with running(tmp_path, *virtio(disk), *virtio(iso, "raw")) as machine:
        machine.wait_for("SEED=/dev/vdb")
        machine.wait_for("SEEDED=42")
        machine.wait_for("from-meta login: ")
