"""The header guard, against images that qemu-img makes and fields patched by hand."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.errors import PermanentError
from hyperd.imagefile import qcow2

LIMIT = 1 << 40


def made(folder: Path, *arguments: str, size: str = "64M") -> bytes:
    path = folder / "image.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", *arguments, str(path), size]
    subprocess.run(argv, check=True, capture_output=True)
    return path.read_bytes()[:65536]


def patched(head: bytes, offset: int, layout: str, value: int) -> bytes:
    changed = bytearray(head)
    struct.pack_into(layout, changed, offset, value)
    return bytes(changed)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-o", "compat=0.10"],
        ["-o", "cluster_size=512"],
        ["-o", "cluster_size=2M"],
        ["-o", "extended_l2=on"],
        ["-o", "compression_type=zstd"],
        ["-o", "preallocation=metadata"],
    ],
    ids=lambda options: options[-1] if options else "plain",
)
def test_a_standalone_image_passes_whatever_its_geometry(tmp_path: Path, options: list[str]) -> None:
    header = qcow2.guard(made(tmp_path, *options), max_virtual_size=LIMIT)
    assert header.virtual_size == 64 << 20
    assert 0 < header.minimum_size <= (tmp_path / "image.qcow2").stat().st_size


@pytest.mark.parametrize(
    "arguments",
    [
        ["-b", "/etc/shadow", "-F", "raw"],
        ["-b", 'json:{"driver":"file","filename":"/etc/shadow"}', "-F", "raw"],
        ["-b", "nbd://127.0.0.1/x", "-F", "raw"],
        ["-b", "image.qcow2", "-F", "qcow2"],
    ],
    ids=["host file", "json", "nbd", "itself"],
)
def test_a_backing_file_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(PermanentError, match="backing file"):
        qcow2.guard(made(tmp_path, *arguments), max_virtual_size=LIMIT)


def test_an_external_data_file_is_refused(tmp_path: Path) -> None:
    head = made(tmp_path, "-o", f"data_file={tmp_path}/data")
    with pytest.raises(PermanentError, match="external file"):
        qcow2.guard(head, max_virtual_size=LIMIT)


def test_a_data_file_extension_is_refused_even_when_no_feature_bit_announces_it(tmp_path: Path) -> None:
    head = made(tmp_path, "-o", f"data_file={tmp_path}/data")
    head = patched(head, 72, ">Q", 0)
    with pytest.raises(PermanentError, match="external data file"):
        qcow2.guard(head, max_virtual_size=LIMIT)


def test_extensions_are_found_behind_a_longer_header(tmp_path: Path) -> None:
    head = patched(made(tmp_path), 100, ">I", 4096)
    head = head[:4096] + struct.pack(">II8s", 0x44415441, 8, b"/etc/pas") + bytes(60000)
    with pytest.raises(PermanentError, match="external data file"):
        qcow2.guard(head, max_virtual_size=LIMIT)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "sentence"),
    [
        (4, ">I", 1, "version 1"),
        (8, ">Q", 4096, "backing file"),
        (16, ">I", 1023, "backing file"),
        (20, ">I", 40, "clusters of"),
        (20, ">I", 8, "clusters of"),
        (24, ">Q", 0, "size of zero"),
        (24, ">Q", 1 << 60, "beyond the limit"),
        (32, ">I", 2, "encrypted"),
        (36, ">I", 0x7FFFFFFF, "level-1 table"),
        (36, ">I", 0, "level-1 table"),
        (60, ">I", 65537, "internal snapshots"),
        (72, ">Q", 1 << 0, "closed cleanly"),
        (72, ">Q", 1 << 1, "corrupt"),
        (72, ">Q", 1 << 40, "unknown here"),
        (88, ">Q", 1 << 1, "external file"),
        (96, ">I", 7, "damaged header"),
        (100, ">I", 8, "damaged header"),
    ],
)
def test_a_patched_header_is_refused(tmp_path: Path, offset: int, layout: str, value: int, sentence: str) -> None:
    with pytest.raises(PermanentError, match=sentence):
        qcow2.guard(patched(made(tmp_path), offset, layout, value), max_virtual_size=LIMIT)


def test_an_encrypted_image_is_refused(tmp_path: Path) -> None:
    head = made(
        tmp_path,
        "--object",
        "secret,id=s,data=x",
        "-o",
        # LUKS would measure this machine first, which fails on a busy one.
        "encrypt.format=aes,encrypt.key-secret=s",
    )
    with pytest.raises(PermanentError, match="encrypted"):
        qcow2.guard(head, max_virtual_size=LIMIT)


def test_a_huge_virtual_size_in_a_small_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"imports\.max_virtual_size_bytes"):
        qcow2.guard(made(tmp_path, "-o", "cluster_size=2M", size="4P"), max_virtual_size=LIMIT)


@given(st.binary(max_size=4096))
def test_no_bytes_raise_anything_but_a_refusal(tail: bytes) -> None:
    for head in (tail, b"QFI\xfb\0\0\0\x03" + tail):
        try:
            qcow2.guard(head, max_virtual_size=LIMIT)
        except PermanentError:
            continue


@given(st.binary(max_size=4096))
def test_no_bytes_of_our_own_images_raise_anything(tail: bytes) -> None:
    """A guest's QEMU writes to the header of its disk."""
    for head in (tail, b"QFI\xfb\0\0\0\x03" + tail, b"QFI\xfb" + b"\xff" * 60 + tail):
        qcow2.read_own(io.BytesIO(head))
