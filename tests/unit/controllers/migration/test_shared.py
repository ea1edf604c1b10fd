"""Whose the files of a guest are that goes on, where two nodes reach them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.migration.shared import give_to_qemu
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle, Handle


async def test_files_that_two_nodes_reach_are_qemus_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    user = pwd.getpwuid(os.getuid())
    opened: dict[str, Handle] = {
        serial_of("a"): FileHandle(Path("/claims/a.img"), DiskFormat.RAW),
        serial_of("b"): FileHandle(Path("/volumes/b"), DiskFormat.QCOW2),
        serial_of("c"): BlockHandle(Path("/claims/c"), DiskFormat.RAW),
        serial_of("d"): FileHandle(Path("/claims/d.img"), DiskFormat.RAW),
    }
    given: list[tuple[object, ...]] = []

    def chown(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        given.append((path, uid, gid, follow_symlinks))
        if path.name == "a.img":
            raise PermissionError("as of NFS")

    async def sources(uid: str) -> dict[str, Handle]:
        return opened

    monkeypatch.setattr(os, "chown", chown)
    settings = SimpleNamespace(hypervisor=SimpleNamespace(qemu_user=user.pw_name))
    context = SimpleNamespace(hypervisor=SimpleNamespace(sources=sources), settings=settings)
    await give_to_qemu(cast(Context, context), "guest", ["a", "c", "d", "gone"])
    assert given == [
        (Path("/claims/a.img"), user.pw_uid, -1, False),
        (Path("/claims/d.img"), user.pw_uid, -1, False),
    ]
