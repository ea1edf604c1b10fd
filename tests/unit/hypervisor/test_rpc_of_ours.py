"""Every guest that this house describes may come from another node."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hyperd.hypervisor.rpc import Calls, Guest
from tests.unit.hypervisor.test_rpc import prepare

_FETCHED = "nbd"
"""One whose disk is still being fetched goes nowhere."""
_FOLDER = Path(__file__).parents[2] / "golden" / "machines"
_MACHINES = sorted(path for path in _FOLDER.rglob("*.xml") if path.stem != _FETCHED)
_EMULATOR = "/usr/bin/qemu-system-x86_64"


@pytest.mark.parametrize("path", _MACHINES, ids=lambda path: path.stem)
def test_it_passes(path: Path) -> None:
    xml = path.read_text()
    uid = re.search(r"<uuid>(.*?)</uuid>", xml)
    assert uid is not None
    files = {found for found in re.findall(r"[\">](/[^\"<]*)[\"<]", xml) if not found.startswith("/usr/bin")}
    if "<emulator>" not in xml:
        xml = xml.replace("<devices>", f"<devices><emulator>{_EMULATOR}</emulator>")
    guest = Guest(uid.group(1), _EMULATOR, files, (), {"unix:///x"})
    assert Calls(guest).feed(prepare(xml)) == prepare(xml)
