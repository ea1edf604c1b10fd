"""One odd name in a folder that the daemon lists stops neither its start nor the sweep of all else."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hyperd.controllers.host import sweep
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from tests.unit.controllers.sweeping import Host, host

UID = "00000000-0000-4000-8000-00000000000a"
FOLDERS: dict[str, Callable[[Host], tuple[Path, str]]] = {
    "volumes": lambda node: (node.settings.volumes_dir, ".qcow2"),
    "nvram": lambda node: (node.settings.nvram_dir, ".fd"),
    "nvram of secure boot": lambda node: (node.settings.nvram_dir, ".secure.fd"),
    "seeds": lambda node: (node.settings.seeds_dir, ".img"),
    "console logs": lambda node: (node.settings.console_log_dir, ".log"),
    "console sockets": lambda node: (node.settings.console_dir, ""),
    "cache": lambda node: (node.settings.images_dir, ".qcow2"),
    "quarantine": lambda node: (node.settings.state_dir / "quarantine", ".json"),
}
"""What is listed, and how names end there."""


def _file(path: Path) -> None:
    path.write_bytes(b"\xff\xfe not what it should be")


def _unreadable(path: Path) -> None:
    _file(path)
    path.chmod(0)


def _not_utf8(path: Path) -> None:
    Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff\xfe" + os.fsencode(path.suffix))).write_bytes(b"x")


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a path of a socket has 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _folder_with_file(path: Path) -> None:
    path.mkdir()
    (path / "x").write_bytes(b"x")


ODDITIES: dict[str, Callable[[Path], None]] = {
    "lost+found": lambda path: path.with_name("lost+found").mkdir(),
    "folder": _folder_with_file,
    "fifo": lambda path: os.mkfifo(path),
    "socket": _socket,
    "device": lambda path: os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3)),
    "link to itself": lambda path: path.symlink_to(path),
    "link to nowhere": lambda path: path.symlink_to("/nonexistent"),
    "link to a folder": lambda path: path.symlink_to("/"),
    "unreadable": _unreadable,
    "not UTF-8": _not_utf8,
    "very long": lambda path: _file(path.with_name("a" * 240 + path.suffix)),
    "newline": lambda path: _file(path.with_name(f"a\n\x1b[2J{path.suffix}")),
    "upper case": lambda path: _file(path.with_name(f"A{path.suffix}")),
    "dots": lambda path: _file(path.with_name(f"..{path.suffix}.bak")),
    "damaged": _file,
    "hidden folder": lambda path: path.with_name(".store").mkdir(),
    "temporary folder": lambda path: _folder_with_file(path.with_name(f".{path.name}.new")),
    "hidden, not UTF-8": lambda path: _file(path.with_name(".store")),
}


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(sweep, "AGAIN_SECONDS", 0.0)
    async with host(tmp_path) as made:
        yield made


@pytest.mark.root
@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("where", FOLDERS)
async def test_an_oddity_is_skipped_and_all_else_goes_on(
    node: Host, caplog: pytest.LogCaptureFixture, where: str, oddity: str
) -> None:
    folder, suffix = FOLDERS[where](node)
    folder.mkdir(exist_ok=True)
    ODDITIES[oddity](folder / f"{UID}{suffix}")
    names = sorted(os.listdir(folder))
    kept, kept_disk = await node.make("kept")
    gone, gone_disk = await node.make("gone")
    await node.volumes.start()
    await node.seeds.clean()
    await node.images._cache.clean()
    node.begin()
    await node.start()
    for kind in (VIRTUAL_MACHINE, VIRTUAL_DISK):
        node.objects.mark_deleted(kind, "gone")
    await node.sync()
    for kind in (VIRTUAL_MACHINE, VIRTUAL_DISK):
        node.objects.drop(kind, "gone")
    await node.sync()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await node.sweeper.sweep()
    held = str(await node.held())
    assert gone not in held
    assert gone_disk not in held
    assert kept in held
    assert kept_disk in held
    assert node.noted() <= {UID}
    assert set(names) <= set(os.listdir(folder)) or where == "console sockets"
    assert "Traceback" not in caplog.text
    lines = [line for line in caplog.messages if "left alone" in line]
    assert len(lines) == len(set(lines)), "each is told once"
