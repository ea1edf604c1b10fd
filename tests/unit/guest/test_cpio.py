"""The initramfs archive is what the kernel's own tool reads, and the same every time."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

from tests.guest.cpio import Archive


def archive(tree: Path) -> bytes:
    built = Archive()
    built.tree(tree)
    built.symlink("bin/sh", "busybox")
    built.file("bin/busybox", b"\x7fELF", executable=True)
    built.character_device("dev/console", 5, 1)
    built.directory("proc")
    return built.compressed()


def listed(data: bytes) -> dict[str, list[str]]:
    shown = subprocess.run(["cpio", "-tvn"], input=gzip.decompress(data), capture_output=True, check=True).stdout
    lines = [line.split() for line in shown.decode().splitlines()]
    return {words[-3] if "->" in words else words[-1]: words for words in lines}


def test_files_links_and_devices_are_read_back_with_their_modes(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/rcS").write_text("#!/bin/sh\n")
    (tmp_path / "etc/rcS").chmod(0o755)
    entries = listed(archive(tmp_path))
    assert entries["etc/rcS"][0] == "-rwxr-xr-x"
    assert entries["bin/busybox"][4] == "4"
    assert entries["bin/sh"][-1] == "busybox"
    assert entries["dev/console"][0].startswith("crw")
    assert entries["dev/console"][4:6] == ["5,", "1"]
    assert {"bin", "dev", "etc", "proc"} <= set(entries)


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("2")
    (tmp_path / "a").write_text("1")
    first = archive(tmp_path)
    (tmp_path / "a").touch()
    assert archive(tmp_path) == first
