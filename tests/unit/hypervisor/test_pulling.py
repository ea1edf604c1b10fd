"""What a pull has brought into a disk's top outlives the QEMU that did it, and whatever ends the pull."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hyperd.imagefile.handle import DiskFormat, FileHandle
from tests.contract.volumes import guest
from tests.tui.world import short_folder
from tests.unit.hypervisor.pulling import SIZE, WHAT


@pytest.mark.skipif(os.geteuid() != 0, reason="a libvirt of one's own is root's")
@pytest.mark.parametrize("what", WHAT)
def test_what_was_pulled_is_in_the_file_when_its_qemu_is_killed(what: str) -> None:
    """Also of a disk that grows or goes meanwhile: neither waits for the pull."""
    with short_folder() as folder:  # libvirt makes sockets deep below it
        argv = [sys.executable, "-m", "tests.unit.hypervisor.pulling", str(folder), what]
        subprocess.run(argv, check=True, timeout=120)
        if what == "killed":
            (folder / "lower").unlink()
        content = guest.read(FileHandle(folder / "top", DiskFormat.QCOW2))
    assert content[:SIZE] == bytes([7]) * SIZE
