"""What the firmware's log says of its last boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperd.controllers.machine import firmware

BOOT = "SeaBIOS (version 1.16.2)\nBooting from Hard Disk...\n"
NOTHING = "Boot failed: not a bootable disk\n\nNo bootable device.\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        (BOOT, False),
        (BOOT + NOTHING, True),
        (BOOT + NOTHING + BOOT, False),
        (BOOT + "PCI: \xff\n" * 10_000 + BOOT + NOTHING, True),
    ],
)
def test_the_last_boot_counts(tmp_path: Path, text: str, expected: bool) -> None:
    log = tmp_path / "uid.bios"
    log.write_text(text, encoding="latin-1")
    assert firmware.found_nothing(log) is expected


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert not firmware.found_nothing(tmp_path / "none")
