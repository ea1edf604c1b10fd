"""A disk of the tests' own: a loop device, over a file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BYTES = 256 << 20
_TOOLS = {"losetup": "mount", "sfdisk": "fdisk", "partx": "util-linux"}


def missing() -> str:
    """Why there can be none here, in one sentence; empty where there can."""
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            return f"{tool} is not installed: apt-get install {package}"
    if os.geteuid() != 0:
        return "only root makes loop devices"
    if not Path("/dev/loop-control").exists():
        return "this kernel has no loop devices"
    return ""


@contextmanager
def disk(image: Path, size: int = _BYTES) -> Iterator[Path]:
    """A disk that holds nothing; skips, loudly, where none can be made."""
    if why := missing():
        pytest.skip(f"NO BLOCK POOL IS TESTED HERE: {why}")
    with image.open("wb") as file:
        file.truncate(size)
    with attached(image) as device:
        yield device
    image.unlink()


@contextmanager
def attached(image: Path) -> Iterator[Path]:
    """What a file holds, as a disk."""
    made = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    device = Path(made.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["partx", "--delete", device], check=False, capture_output=True)
        subprocess.run(["losetup", "--detach", device], check=True)
