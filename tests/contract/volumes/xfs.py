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


class InNode:
    """One that a node has mounted at ``path``."""

    def __init__(self, node: Node, folder: Path) -> None:
        self._node, self._folder = node, folder
        self._image, self.path = folder / "xfs.img", folder / "xfs"
        self._loop = ""
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_BYTES)
        subprocess.run(["mkfs.xfs", "-q", self._image], check=True, capture_output=True)
        self._mount()

    def cut(self) -> None:
        """The power: what was not synced is lost. Nobody may have anything of it open any more."""
        self._node.exec(["xfs_io", "-x", "-c", "shutdown", self.path])
        self.close()
        after = self._image.with_suffix(".after")
        # As another disk: while anybody has the one that was shut down in a namespace, it stays as it is.
        subprocess.run(["cp", "--sparse=always", self._image, after], check=True)
        after.replace(self._image)
        self._mount()

    def close(self) -> None:
        self._node.exec(["umount", "--lazy", self.path], check=False)
        subprocess.run(["losetup", "-d", self._loop], check=False)

    def _mount(self) -> None:
        argv: list[str | Path] = ["losetup", "-f", "--show", self._image]
        self._loop = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        number = self._loop.removeprefix("/dev/loop")
        device = self._folder / f"loop{number}"
        device.unlink(missing_ok=True)
        self._node.exec(["mknod", device, "b", "7", number])
        self._node.exec(["mount", "-o", "nouuid", device, self.path])


@contextmanager
def in_node(node: Node, folder: Path) -> Iterator[InNode]:
    """An empty XFS, as a node sees it; skips, loudly, where none can be made."""
    if why := missing():
        pytest.skip(f"NO REFLINK POOL IS TESTED HERE: {why}")
    made = InNode(node, folder)
    try:
        yield made
    finally:
        made.close()
