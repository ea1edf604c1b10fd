"""A file system that shares blocks, on a loop device of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.node import Node

_BYTES = 400 << 20
"""The smallest that mkfs.xfs makes is 300 MiB."""


def missing() -> str:
    """Why there can be none here, in one sentence; empty where there can."""
    if shutil.which("mkfs.xfs") is None:
        return "mkfs.xfs is not installed: apt-get install xfsprogs"
    if os.geteuid() != 0:
        return "only root mounts loop devices"
    if not Path("/dev/loop-control").exists():
        return "this kernel has no loop devices"
    if "xfs" not in Path("/proc/filesystems").read_text().split():
        subprocess.run(["modprobe", "xfs"], check=False, capture_output=True)
        if "xfs" not in Path("/proc/filesystems").read_text().split():
            return "this kernel has no XFS"
    return ""


@contextmanager
def mounted(folder: Path, *, reflink: bool = True) -> Iterator[Path]:
    """An empty XFS in ``folder``; skips, loudly, where none can be made."""
    if why := missing():
        pytest.skip(f"NO REFLINK POOL IS TESTED HERE: {why}")
    image, mount = folder / "xfs.img", folder / "xfs"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(_BYTES)
    subprocess.run(["mkfs.xfs", "-q", "-m", f"reflink={int(reflink)}", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)
        image.unlink()


@contextmanager
def in_node(node: Node, folder: Path) -> Iterator[Path]:
    """Likewise, as a node sees it; skips, loudly, where none can be made."""
    if why := missing():
        pytest.skip(f"NO REFLINK POOL IS TESTED HERE: {why}")
    image, mount, device = folder / "xfs.img", folder / "xfs", folder / "loop"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(_BYTES)
    subprocess.run(["mkfs.xfs", "-q", image], check=True, capture_output=True)
    made = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True)
    loop = made.stdout.strip()
    try:
        node.exec(["mknod", device, "b", "7", loop.removeprefix("/dev/loop")])
        node.exec(["mount", device, mount])
        yield mount
    finally:
        node.exec(["umount", "--lazy", mount], check=False)
        subprocess.run(["losetup", "-d", loop], check=False)
