"""What a pull has brought into a disk's top outlives the QEMU that did it, and whatever ends the pull."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyperd.imagefile.handle import DiskFormat, FileHandle
from tests.contract.volumes import guest
from tests.unit.hypervisor.pulling import SIZE, WHAT


@pytest.mark.skipif(os.geteuid() != 0, reason="a libvirt of one's own is root's")
@pytest.mark.parametrize("what", WHAT)
def test_what_was_pulled_is_in_the_file_when_its_qemu_is_killed(tmp_path: Path, what: str) -> None:
    """Also of a disk that grows or goes meanwhile: neither waits for the pull."""
    argv = [sys.executable, "-m", "tests.unit.hypervisor.pulling", str(tmp_path), what]
    subprocess.run(argv, check=True, timeout=120)
    if what == "killed":
        (tmp_path / "lower").unlink()
    content = guest.read(FileHandle(tmp_path / "top", DiskFormat.QCOW2))
    assert content[:SIZE] == bytes([7]) * SIZE
