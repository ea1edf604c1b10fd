"""A qcow2 image that is made piece by piece of a disk's content and its holes."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.imagefile.layout import CLUSTER, ClusterMap, Qcow2Layout

MIB = 1 << 20
SIZES = st.integers(1, 6 * MIB).map(lambda size: size - size % 512 or 512)


def image_of(disk: bytes | bytearray, layout: Qcow2Layout, start: int = 0, stop: int | None = None) -> bytes:
    stop = layout.size if stop is None else stop
    runs = layout.runs(start, stop)
    return b"".join(run.data or bytes(disk[run.offset : run.offset + run.length]) for run in runs)


def filled(size: int, places: list[tuple[int, int]]) -> tuple[bytearray, ClusterMap]:
    """A disk with something at these places, and what is known of it."""
    disk, found = bytearray(size), ClusterMap(size)
    for start, length in places:
        start %= size
        length = min(length, size - start)
        disk[start : start + length] = random.Random(start).randbytes(length)
        found.add(start, length)
    return disk, found


@settings(deadline=None, max_examples=40)
@given(
    size=SIZES,
    places=st.lists(st.tuples(st.integers(0, 6 * MIB), st.integers(1, MIB)), max_size=5),
    cut=st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_any_part_is_that_of_the_whole(size: int, places: list[tuple[int, int]], cut: list[float]) -> None:
    disk, found = filled(size, places)
    layout = Qcow2Layout(found)
    whole = image_of(disk, layout)
    assert len(whole) == layout.size
    start, stop = sorted(int(place * layout.size) for place in cut)
    assert image_of(disk, layout, start, stop) == whole[start:stop]


@pytest.mark.parametrize(
    ("size", "places"),
    [
        (512, []),
        (512, [(0, 512)]),
        (4 * MIB, [(0, 1), (3 * MIB, MIB)]),
        (3 * MIB + 512, [(CLUSTER * 5 + 7, 3 * CLUSTER), (3 * MIB, 512)]),
        (600 * MIB, [(511 * MIB, 2 * MIB)]),
    ],
    ids=["empty", "sector", "holes", "odd", "two tables"],
)
def test_qemu_reads_what_went_in_and_finds_no_fault(
    tmp_path: Path, size: int, places: list[tuple[int, int]]
) -> None:
    disk, found = filled(size, places)
    image, raw = tmp_path / "image", tmp_path / "raw"
    image.write_bytes(image_of(disk, Qcow2Layout(found)))
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw], check=True)
    assert raw.read_bytes() == disk
    checked = subprocess.run(
        ["qemu-img", "check", "-f", "qcow2", "--output=json", image], check=True, capture_output=True
    )
    answer = json.loads(checked.stdout)
    assert not answer["check-errors"]
    assert not answer.get("corruptions")
    assert not answer.get("leaks")


def test_a_huge_disk_has_its_tables_in_place(tmp_path: Path) -> None:
    """More than one cluster of refcounts and of the level-1 table, in a file with holes."""
    size = 5 << 40
    found = ClusterMap(size)
    found.add(0, 4 << 30)
    found.add(size - MIB, MIB)
    layout = Qcow2Layout(found)
    image = tmp_path / "image"
    with image.open("wb") as file:
        for run in layout.runs(0, layout.size):
            if run.data:
                file.write(run.data)
            else:
                file.seek(run.length, 1)
        file.truncate(layout.size)
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", image], check=True)
