"""Every guest that this house describes may come from another node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hyperd.hypervisor.rpc import Calls, Guest
from tests.unit.hypervisor.test_rpc import prepare

_FETCHED = "nbd"
"""One whose disk is still being fetched goes nowhere."""
_FOLDER = Path(__file__).parents[2] / "golden" / "machines"
_MACHINES = sorted(path for path in _FOLDER.rglob("*.xml") if path.stem != _FETCHED)
_EMULATOR = "/usr/bin/qemu-system-x86_64"


def _formats(xml: str) -> Iterator[tuple[str, str]]:
    for disk in ET.fromstring(xml).iterfind("devices/disk"):
        driver, source = disk.find("driver"), disk.find("source")
        if driver is not None and source is not None:
            yield source.get("file") or source.get("dev") or "", driver.get("type", "")


@pytest.mark.parametrize("path", _MACHINES, ids=lambda path: path.stem)
def test_it_passes(path: Path) -> None:
    xml = path.read_text()
    uid = re.search(r"<uuid>(.*?)</uuid>", xml)
    assert uid is not None
    found = {found for found in re.findall(r"[\">](/[^\"<]*)[\"<]", xml) if not found.startswith("/usr/bin")}
    files = dict.fromkeys(found, "raw") | dict(_formats(xml))
    if "<emulator>" not in xml:
        xml = xml.replace("<devices>", f"<devices><emulator>{_EMULATOR}</emulator>")
    guest = Guest(uid.group(1), _EMULATOR, files, (), {"unix:///x"})
    assert Calls(guest).feed(prepare(xml)) == prepare(xml)
