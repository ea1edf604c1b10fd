from __future__ import annotations

import pytest

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import Compression, ForeignFormat, ImageFormat, compression, image_format

ISO = bytes(32769) + b"CD001" + bytes(2048)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"QFI\xfb" + bytes(600), ImageFormat.QCOW2),
        (ISO, ImageFormat.ISO),
        (b"\xeb\x63\x90" + bytes(600), ImageFormat.RAW),
        (bytes(65536), ImageFormat.RAW),
        (b"KDMV" + bytes(600), ForeignFormat.VMDK),
        (bytes(0x40) + b"\x7f\x10\xda\xbe" + bytes(600), ForeignFormat.VDI),
    ],
    ids=["qcow2", "iso", "boot sector", "zeros", "vmdk", "vdi"],
)
def test_a_format_is_told_by_its_magic(head: bytes, expected: object) -> None:
    assert image_format(head) is expected


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf  \n<HTML lang=en>", "web page"),
        (b"<?xml version='1.0'?><Error>", "web page"),
        (b"Not found\n", "text file"),
        (b'# Disk DescriptorFile\nRW 1 FLAT "/etc/shadow" 0', "refers to other files"),
        (b"COWD" + bytes(600), "refers to other files"),
        (b"vhdxfile" + bytes(600), "VHDX"),
        (b"conectix" + bytes(600), "VHD"),
        (b"\x1f\x8b\x08" + bytes(600), "twice"),
    ],
)
def test_what_is_no_disk_image_is_refused_with_a_sentence(head: bytes, sentence: str) -> None:
    with pytest.raises(PermanentError, match=sentence) as refused:
        image_format(head)
    assert refused.value.key == "ProvisioningFailed"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x1f\x8b\x08\x00", Compression.GZIP),
        (b"\xfd7zXZ\x00", Compression.XZ),
        (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
        (b"QFI\xfb", None),
        (b"", None),
    ],
)
def test_an_outer_compression_is_told_by_its_magic(head: bytes, expected: Compression | None) -> None:
    assert compression(head) is expected
