"""What the firmware of a machine keeps, and what it says: whether it found something to boot from.

SeaBIOS tells its debug port, which virtlogd keeps in a file. The guest can write there too, so nothing depends on
it but a reason in the status.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hyperd.resources.kinds.virtual_machine import Bootloader
from hyperd.settings import Settings

_TAIL_BYTES = 4096
_BOOT = b"SeaBIOS (version"
_NOTHING = b"No bootable device."


_ENDINGS: Mapping[Bootloader, str] = {Bootloader.EFI: "fd", Bootloader.EFI_WITH_SECURE_BOOT: "secure.fd"}


def variables_path(settings: Settings, uid: str, bootloader: Bootloader) -> Path | None:
    """Where the firmware keeps its variables; None where it has none.

    A file each: variables without keys, as EFI's are made, would leave secure boot off.
    """
    ending = _ENDINGS.get(bootloader)
    return None if ending is None else settings.nvram_dir / f"{uid}.{ending}"


def variables_paths(settings: Settings, uid: str) -> list[Path]:
    """All that one machine may have."""
    return [settings.nvram_dir / f"{uid}.{ending}" for ending in _ENDINGS.values()]


def log_path(settings: Settings, uid: str) -> Path:
    """The file of one machine; it goes with the console's log."""
    return settings.console_log_dir / f"{uid}.bios"


def found_nothing(path: Path) -> bool:
    """Blocking: whether the last boot of the firmware ended without a device to boot from."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES)
    except OSError:
        return False
    return _NOTHING in tail.rpartition(_BOOT)[2]
