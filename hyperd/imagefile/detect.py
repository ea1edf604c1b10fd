"""What a stream of bytes is, by magic alone.

The rule kept here: nobody ever asks QEMU to guess a format. A guest can write a qcow2 header into its raw disk,
so the format is decided once, on the bytes that came from the source, and is explicit from then on.
"""

from __future__ import annotations

import codecs
import re
from enum import StrEnum

from hyperd.errors import PermanentError
from hyperd.imagefile import signatures

HEAD_BYTES = 72 << 10
"""How much of a stream must be seen before it is judged; ISO 9660 needs 33 KiB, btrfs 65."""

FAILED = "ProvisioningFailed"
"""The reference's reason for an image that cannot be used."""


class ImageFormat(StrEnum):
    """The formats that are kept; others are converted to qcow2 or refused."""

    QCOW2 = "qcow2"
    RAW = "raw"
    ISO = "iso"

    @property
    def suffix(self) -> str:
        return "img" if self is ImageFormat.RAW else self.value

    @property
    def driver(self) -> str:
        """QEMU's block driver; an ISO is raw bytes."""
        return "qcow2" if self is ImageFormat.QCOW2 else "raw"


class ForeignFormat(StrEnum):
    """Formats that become qcow2; the values are QEMU's driver names."""

    VMDK = "vmdk"
    VDI = "vdi"


class Compression(StrEnum):
    """What may be wrapped around an image; the values are the programs that unwrap it."""

    GZIP = "gzip"
    XZ = "xz"
    ZSTD = "zstd"
    BZIP2 = "bzip2"


_COMPRESSIONS = (
    (b"\x1f\x8b", Compression.GZIP),
    (b"\xfd7zXZ\x00", Compression.XZ),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
)
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
"""Its own mark is short; a block's, or the end's, follows."""
QCOW2_MAGIC = b"QFI\xfb"
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|!--)", re.IGNORECASE)


def compression(head: bytes) -> Compression | None:
    """The outer compression of a stream that starts with ``head``."""
    if _BZIP2.match(head):
        return Compression.BZIP2
    return next((kind for magic, kind in _COMPRESSIONS if head.startswith(magic)), None)


def image_format(head: bytes) -> ImageFormat | ForeignFormat:
    """The format of an uncompressed image whose first HEAD_BYTES (or all bytes, if fewer) are ``head``.

    Raises PermanentError for what is no disk image: nothing, a web page, a text file, an archive, a format not
    taken. Raw is what is nothing else; ``doubt`` says whether it looks like a disk.
    """
    if not head:
        raise PermanentError("The source is an empty file, not a disk image.", key=FAILED)
    if head.startswith(QCOW2_MAGIC):
        return ImageFormat.QCOW2
    if head.startswith(b"KDMV"):
        return ForeignFormat.VMDK
    if head[0x40:0x44] == b"\x7f\x10\xda\xbe":
        return ForeignFormat.VDI
    if head[32769:32774] == b"CD001":
        return ImageFormat.ISO
    _refuse(head)
    return ImageFormat.RAW


def doubt(head: bytes, kind: ImageFormat | ForeignFormat) -> str:
    """A warning about an image that is kept as raw bytes for want of anything better; mostly empty."""
    if kind is not ImageFormat.RAW or signatures.has_system(head):
        return ""
    return (
        "The source has no boot sector, partition table or file system that is known here; it is kept as a raw "
        "disk, byte for byte. If it should be something else, check the URL."
    )


def _refuse(head: bytes) -> None:
    if _MARKUP.match(head):
        raise PermanentError(
            "The source served a web page, not a disk image; check the URL, it may ask for a login.", key=FAILED
        )
    if head.startswith((b"COWD", b"# Disk DescriptorFile")):
        raise PermanentError(
            "The source is a VMDK descriptor or a split VMDK, which refers to other files; "
            "export it as a single stream-optimized VMDK or as qcow2.",
            key=FAILED,
        )
    if head.startswith((b"vhdxfile", b"conectix")):
        raise PermanentError(
            "VHD and VHDX images are not taken; convert the image to qcow2 with qemu-img convert.", key=FAILED
        )
    if name := signatures.other(head):
        raise PermanentError(
            f"The source is {name}, not a disk image; serve the image itself, at most compressed with gzip, xz, "
            "zstd or bzip2.",
            key=FAILED,
        )
    if compression(head):
        raise PermanentError("The image is compressed twice; serve it with one compression at most.", key=FAILED)
    if _is_text(head):
        raise PermanentError("The source served a text file, not a disk image.", key=FAILED)


def _is_text(head: bytes) -> bool:
    """Whether all of it is text in UTF-8; a disk image has other bytes in its first sectors."""
    start = head[:4096]
    if any(byte < 0x20 and byte not in b"\t\n\r\f\x1b" for byte in start):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True
