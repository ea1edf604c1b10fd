"""What is believed of libvirt's silence, and how its numbers are spelt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from hyperd import errors
from hyperd.hypervisor.actions.reader import Reader
from hyperd.hypervisor.connection.events import names
from tests.unit.hypervisor.specs import UID


@pytest.fixture(scope="module")
def empty_libvirt() -> Iterator[libvirt.virConnect]:
    conn = libvirt.open("test:///default")
    yield conn
    conn.close()


@pytest.fixture
def qemu() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the domain's QEMU, as far as its arguments."""
    argv = [sys.executable, "-c", "print(flush=True); input()", "-uuid", UID]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the kernel shows no arguments while the program is being loaded
        yield process
        process.kill()


def test_a_domain_is_not_gone_while_its_qemu_lives(
    tmp_path: Path, empty_libvirt: libvirt.virConnect, qemu: subprocess.Popen[bytes]
) -> None:
    reader = Reader("hyperd", tmp_path)
    assert reader.info(empty_libvirt, UID) is None
    (tmp_path / f"hyperd-{UID}.pid").write_text(f"{qemu.pid}\n")
    with pytest.raises(errors.ServiceUnavailable, match="its QEMU runs"):
        reader.info(empty_libvirt, UID)
    qemu.kill()
    qemu.wait()
    assert reader.info(empty_libvirt, UID) is None


@pytest.mark.parametrize("text", ["", "not a number", "1"])
def test_a_stale_pid_file_proves_nothing(tmp_path: Path, empty_libvirt: libvirt.virConnect, text: str) -> None:
    (tmp_path / f"hyperd-{UID}.pid").write_text(text)
    assert Reader("hyperd", tmp_path).info(empty_libvirt, UID) is None


def test_constants_are_spelt_as_words() -> None:
    spelt = names("VIR_DOMAIN_PAUSED_")
    assert spelt[libvirt.VIR_DOMAIN_PAUSED_IOERROR] == "ioerror"
    assert spelt[libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT] == "from-snapshot"
