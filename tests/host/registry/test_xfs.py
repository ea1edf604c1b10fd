"""Imports onto XFS, which takes space ahead of who writes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hyperd.imagefile.detect import ImageFormat
from hyperd.imagefile.growth import Growth
from tests.unit.registry.world import a_world, qemu_img

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
MIB = 1 << 20


@contextmanager
def xfs(file: Path, folder: Path, mebibytes: int) -> Iterator[Path]:
    folder.mkdir(parents=True)
    with file.open("wb") as made:
        made.truncate(mebibytes * MIB)
    subprocess.run(["mkfs.xfs", "-q", file], check=True)
    subprocess.run(["mount", "-o", "loop", file, folder], check=True)
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_space_that_is_taken_ahead_is_not_the_images_fault(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(b"\xeb\x63" + os.urandom(300 * MIB))
    qemu_img("convert", "-f", "raw", "-O", "vdi", raw, tmp_path / "vdi")
    with xfs(tmp_path / "file", tmp_path / "state", 2048):
        async with a_world(tmp_path) as world:
            world.source.routes["/a"] = (tmp_path / "vdi").read_bytes()
            got = await world.load("/a")
            assert got.format is ImageFormat.QCOW2
            cached = (await world.cache.ensure(got.reference)).path
            qemu_img("compare", "-f", "raw", "-F", "qcow2", raw, cached)


def test_what_xfs_takes_ahead_is_not_growth(tmp_path: Path) -> None:
    with (
        xfs(tmp_path / "file", tmp_path / "state", 1024) as folder,
        (folder / "a").open("wb", buffering=0) as file,
    ):
        block = os.urandom(MIB)
        ahead = 0
        for number in range(200):
            file.write(block)
            found = os.fstat(file.fileno())
            ahead = max(ahead, found.st_blocks * 512 - found.st_size)
            Growth(file.fileno(), max_bytes=(number + 1) * MIB, folder=folder, reserve=0).check()
        assert ahead > 50 * MIB
