"""Volumes are read at any place, whatever they are made of, and only what they are said to be made of."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

from hyperd.errors import BadRequest, PermanentError
from hyperd.imagefile import maps, nbd
from hyperd.imagefile.exporting import Content, image_of
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.imagefile.layers import opened
from hyperd.imagefile.maps import Maps
from hyperd.imagefile.reading import VolumeReader, reading
from hyperd.settings import Settings

MIB = 1 << 20


@asynccontextmanager
async def opened_for_reading(folder: Path, *files: tuple[Path, DiskFormat]) -> AsyncIterator[VolumeReader]:
    settings = Settings(run_dir=folder)
    with opened([FileHandle(path, format_) for path, format_ in files]) as layers:
        async with reading(layers, settings) as volume:
            yield volume


def made(path: Path, size: str, *commands: str, backing: Path | None = None) -> Path:
    over = [] if backing is None else ["-u", "-F", "qcow2", "-b", str(backing)]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *over, path, size], check=True)
    words = [word for command in commands for word in ("-c", command)]
    if words:
        subprocess.run(["qemu-io", "-f", "qcow2", *words, path], check=True)
    path.chmod(0o600)
    return path


def qemu_img(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *words], check=True)


async def holes(volume: VolumeReader) -> Sequence[tuple[int, int]]:
    """Where it reads as zeros, by begin and end."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < volume.size:
        for length, zero in await volume.extents(at, volume.size - at):
            if zero and found and found[-1][1] == at:
                found[-1] = (found[-1][0], at + length)
            elif zero:
                found.append((at, at + length))
            at += length
    return found


async def test_layers_are_read_as_one_disk_with_its_holes(tmp_path: Path) -> None:
    base = made(tmp_path / "base", "8M", "write -q -P 5 1M 3M")
    top = made(tmp_path / "top", "10M", "write -q -P 7 2M 64k", "write -q -z 3M 64k", backing=base)
    layers = (top, DiskFormat.QCOW2), (base, DiskFormat.QCOW2)
    async with opened_for_reading(tmp_path, *layers) as volume:
        assert volume.size == 10 * MIB
        assert await holes(volume) == [(0, MIB), (3 * MIB, 3 * MIB + 65536), (4 * MIB, 10 * MIB)]
        content = await volume.read(MIB, 3 * MIB)
        assert content == b"\5" * MIB + b"\7" * 65536 + b"\5" * (MIB - 65536) + bytes(65536) + b"\5" * (
            MIB - 65536
        )
    assert sorted(os.listdir(tmp_path)) == ["base", "top"]
    assert [path.stat().st_uid for path in (base, top)] == [os.geteuid()] * 2


async def test_what_a_header_names_is_not_opened(tmp_path: Path) -> None:
    """A guest's QEMU may write to its top's header."""
    secret = made(tmp_path / "secret", "1M", "write -q -P 9 0 1M")
    top = made(tmp_path / "top", "1M", "write -q -P 7 0 64k", backing=secret)
    async with opened_for_reading(tmp_path, (top, DiskFormat.QCOW2)) as volume:
        assert await volume.read(0, MIB) == b"\7" * 65536 + bytes(MIB - 65536)


async def test_a_raw_file_is_exported_to_its_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"x" * 1000)
    with opened([FileHandle(path, DiskFormat.RAW)]) as layers:
        content = Content("Odd", "odd", "u", "1", layers)
        async with image_of(content, DiskFormat.RAW, Settings(run_dir=tmp_path), Maps(), user="root") as image:
            assert b"".join([bytes(piece) async for piece in image.pieces(0, image.size)]) == b"x" * 1000
            assert b"".join([bytes(piece) async for piece in image.pieces(990, 995)]) == b"x" * 5


async def test_a_disk_in_tiny_pieces_is_told_and_read_in_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop serves others meanwhile: what is told of 2^17 pieces is worked on elsewhere."""
    disk = (b"\5" * 512 + bytes(512)) * 4096 + bytes(MIB) + (b"\7" * 512 + bytes(512)) * 1024
    (tmp_path / "raw").write_bytes(disk)
    top = tmp_path / "top"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-S", "512", "-o", "cluster_size=512", tmp_path / "raw", top)
    threads = set()

    def noting(where: ModuleType, name: str) -> None:
        function = getattr(where, name)

        def noted(*arguments: object) -> object:
            threads.add(threading.current_thread())
            return function(*arguments)

        monkeypatch.setattr(where, name, noted)

    noting(nbd, "_joined")
    noting(maps, "_marked")
    async with opened_for_reading(tmp_path, (top, DiskFormat.QCOW2)) as volume:
        assert await volume.extents(0, volume.size) == [
            (4 * MIB - 512, False), (MIB + 512, True), (MIB - 512, False), (512, True),
        ]  # fmt: skip
        assert await holes(volume) == [(4 * MIB - 512, 5 * MIB), (6 * MIB - 512, 6 * MIB)]
        layout, _ = await Maps().of(volume, "t", title="Odd", user="root")
        whole = b"".join(
            [run.data or bytes(await volume.read(run.offset, run.length)) for run in layout.runs(0, layout.size)]
        )
    assert threading.main_thread() not in threads
    (tmp_path / "image").write_bytes(whole)
    qemu_img("compare", "-f", "raw", "-F", "qcow2", tmp_path / "raw", tmp_path / "image")


class Asked(VolumeReader):
    """A disk of 3 GiB with something in each, that counts how often it is asked where."""

    def __init__(self, size: int = 3 << 30) -> None:
        self.size = size
        self.asked = self.most = self._now = 0

    async def extents(self, offset: int, length: int) -> Sequence[tuple[int, bool]]:
        self.asked += 1
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        return [(65536, False), (length - 65536, True)]


async def test_a_map_is_made_once_for_a_content_and_one_at_a_time_for_a_user() -> None:
    made, volume = Maps(), Asked()
    found = await asyncio.gather(*[made.of(volume, "t", title="Odd", user="a") for _ in range(5)])
    assert (volume.asked, len({digest for _, digest in found})) == (3, 1)
    await asyncio.gather(*[made.of(volume, f"u{number}", title="Odd", user="a") for number in range(4)])
    assert (volume.asked, volume.most) == (15, 1)
    await made.of(volume, "t", title="Odd", user="b")
    assert volume.asked == 15


async def test_a_disk_whose_map_would_be_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Asked(64 << 40)
    with pytest.raises(BadRequest) as caught:
        await Maps().of(volume, "t", title="VirtualDisk a/vm", user="a")
    assert caught.value.message == (
        "VirtualDisk a/vm has 64.0 TiB, and disks of up to 16 TiB are exported as qcow2. Export it as raw."
    )
    assert volume.asked == 0
    # What is remembered is bounded as well.
    monkeypatch.setattr(maps, "_REMEMBERED_BYTES", 12 << 10)
    made, volume = Maps(), Asked()
    for tag in ("t", "u", "v", "v", "t"):
        await made.of(volume, tag, title="Odd", user="a")
    assert volume.asked == 12


async def test_what_is_no_image_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(bytes(4096))
    with pytest.raises(PermanentError, match=r"^The volume cannot be read: Image is not in qcow2 format\.$"):
        async with opened_for_reading(tmp_path, (path, DiskFormat.QCOW2)):
            pass
    assert os.listdir(tmp_path) == ["bad"]


async def test_a_large_disk_of_as_many_layers_as_there_may_be_is_read(tmp_path: Path) -> None:
    """QEMU would take more memory for their tables than it is given."""
    lowest = made(tmp_path / "0", "1T", "write -q -P 5 512G 64k")
    empty = made(tmp_path / "1", "1T").read_bytes()
    paths = [tmp_path / str(number) for number in range(150, 0, -1)]
    for path in paths:
        path.write_bytes(empty)
    layers = [(path, DiskFormat.QCOW2) for path in (*paths, lowest)]
    async with opened_for_reading(tmp_path, *layers) as volume:
        assert await volume.read(512 << 30, 65536) == b"\5" * 65536


async def test_a_layer_that_is_damaged_is_told_without_those_above_it(tmp_path: Path) -> None:
    top, middle, lowest = (made(tmp_path / name, "1M") for name in ("top", "middle", "lowest"))
    lowest.write_bytes(bytes(4096))
    with pytest.raises(PermanentError, match=r"^The volume cannot be read: Image is not in qcow2 format\.$"):
        async with opened_for_reading(tmp_path, *((path, DiskFormat.QCOW2) for path in (top, middle, lowest))):
            pass
