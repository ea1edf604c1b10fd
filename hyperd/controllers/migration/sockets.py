"""Where the streams of one migration begin and end: sockets in a folder of its own, on both nodes."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from hyperd.controllers.context import Context
from hyperd.controllers.migration.asked import UID
from hyperd.controllers.migration.interface import Line
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import beneath

_SOCKETS: Final[Mapping[Line, str]] = {Line.MEMORY: "memory.sock", Line.DISKS: "disks.sock"}
_LIBVIRT: Final = (Path("/run/libvirt/virtqemud-sock"), Path("/run/libvirt/libvirt-sock"))


def folder_of(context: Context, operation: str) -> Path:
    """Where the sockets of one migration are, on both nodes. Raises PermanentError: a status may be forged."""
    if not UID.fullmatch(operation):
        raise PermanentError(f'"{operation[:64]}" is no uid of an operation.')
    return context.settings.run_dir / "moves" / operation


def paths_in(folder: Path) -> dict[str, Path]:
    """By the lines that lead to them."""
    return {line: folder / _SOCKETS.get(line, f"{line}.sock") for line in Line}


def of_libvirt(uri: str) -> Path:
    """Where libvirt listens here."""
    given = parse_qs(urlsplit(uri).query).get("socket")
    if given:
        return Path(given[0])
    return next((path for path in _LIBVIRT if path.exists()), _LIBVIRT[-1])


def make_folder(folder: Path, user: str) -> None:
    """QEMU's ``user`` makes its sockets there, and nobody else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.parent.chmod(0o711)
    folder.chmod(0o700)
    try:
        shutil.chown(folder, user)
    except (LookupError, OSError) as error:
        raise PermanentError(f'{folder} cannot be given to QEMU\'s user "{user}": {error}.') from error


def connect(path: Path) -> socket.socket:
    """Raises TemporaryError where nobody listens."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.connect(str(path))
    except OSError as error:
        made.close()
        raise TemporaryError(f"{path} does not answer: {error.strerror or error}.") from error
    made.setblocking(False)
    return made


def connect_beneath(folder: Path, line: Line) -> socket.socket:
    """QEMU's user may put anything into the folder: a link would lead to what only root may speak with."""
    try:
        entry = beneath.open_beneath(folder, _SOCKETS[line], os.O_PATH)
    except OSError as error:
        raise TemporaryError(f"The guest's QEMU does not listen yet: {error.strerror}.") from error
    try:
        if not stat.S_ISSOCK(os.fstat(entry).st_mode):
            raise TemporaryError("Where the guest's QEMU should listen there is something else: it is left alone.")
        return connect(Path(f"/proc/self/fd/{entry}"))
    finally:
        os.close(entry)
