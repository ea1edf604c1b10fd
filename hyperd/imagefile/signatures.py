"""What first bytes say: what is surely no disk image, and what surely is one without a header of its own."""

from __future__ import annotations

import struct

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"PK\x07\x08", "a split zip archive"),
    (257, b"ustar", "a tar archive (an OVA is one, too)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a rar archive"),
    (0, b"MSCF\0\0\0\0", "a cabinet archive"),
    (0, b"!<arch>\n", "an ar archive or Debian package"),
    (0, b"\xed\xab\xee\xdb", "an RPM package"),
    (0, b"070701", "a cpio archive"),
    (0, b"070702", "a cpio archive"),
    (0, b"070707", "a cpio archive"),
    (0, b"xar!", "a xar archive"),
    (0, b"MSWIM\0\0\0", "a Windows imaging (WIM) file"),
    (0, b"\x04\x22\x4d\x18", "a file compressed with lz4"),
    (0, b"LZIP\x01", "a file compressed with lzip"),
    (0, b"\x89LZO\0\r\n\x1a\n", "a file compressed with lzop"),
    (0, b"\x1f\x9d", "a file compressed with compress"),
    (0, b"\x1f\xa0", "a file compressed with compress"),
    (0, b"\x1f\x1e", "a file compressed with pack"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document"),
    (0, b"{\\rtf", "a text document"),
    (0, b"\x7fELF", "an ELF program"),
    (0, b"\xcf\xfa\xed\xfe", "a Mach-O program"),
    (0, b"\xce\xfa\xed\xfe", "a Mach-O program"),
    (0, b"\xca\xfe\xba\xbe", "a Java class or Mach-O program"),
    (0, b"\0asm", "a WebAssembly program"),
    (0, b"!<thin>\n", "an ar archive"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF87a", "a GIF picture"),
    (0, b"GIF89a", "a GIF picture"),
    (0, b"RIFF", "a sound, film or picture"),
    (0, b"OggS", "a sound"),
    (0, b"ID3", "a sound"),
    (0, b"fLaC", "a sound"),
    (4, b"ftyp", "a film"),
    (0, b"\x1a\x45\xdf\xa3", "a film"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\x3a\xff\x26\xed", "an Android sparse image; unpack it with simg2img"),
    (0, b"QED\0", "a QED image; convert it to qcow2 with qemu-img convert"),
    (0, b"WithoutFreeSpace", "a Parallels image; convert it to qcow2 with qemu-img convert"),
    (0, b"WithouFreSpacExt", "a Parallels image; convert it to qcow2 with qemu-img convert"),
    (0, b"Bochs Virtual HD Image", "a Bochs image; convert it to qcow2 with qemu-img convert"),
    (0, b"OOOM", "a User Mode Linux COW image; convert it to qcow2 with qemu-img convert"),
    (0, b"-----BEGIN ", "a key, certificate or signed text"),
)
"""Offset, bytes, and what has them there. Where they are few, ``_told_apart`` looks at more."""

_SYSTEMS: tuple[tuple[int, bytes], ...] = (
    (510, b"\x55\xaa"),  # a boot sector: MBR, FAT, NTFS, exFAT
    (512, b"EFI PART"),  # GPT, whose protective MBR is missing
    (4096, b"EFI PART"),
    (0, b"ER"),  # Apple's partition map
    (512, b"\x57\x45\x56\x82"),  # a BSD disk label
    (508, b"\xda\xbe"),  # a Sun disk label
    (0, b"XFSB"),
    (0, b"hsqs"),  # SquashFS
    (0, b"\x45\x3d\xcd\x28"),  # CramFS
    (0, b"-rom1fs-"),
    (0, b"LUKS\xba\xbe"),
    (0, b"SKUL\xba\xbe"),
    (3, b"-FVE-FS-"),  # BitLocker
    (3, b"NTFS    "),
    (3, b"EXFAT   "),
    (32, b"NXSB"),  # APFS
    (512, b"LABELONE"),  # LVM
    (1024, b"\x10\x20\xf5\xf2"),  # F2FS
    (1024, b"\xe2\xe1\xf5\xe0"),  # EROFS
    (1024, b"H+\0"),
    (1024, b"HX\0"),
    (1024, b"BD"),
    (1030, b"\x34\x34"),  # NILFS2
    (1080, b"\x53\xef"),  # ext2, ext3, ext4
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),  # bcachefs
    (4086, b"SWAPSPACE2"),
    (4096, b"\xfc\x4e\x2b\xa9"),  # MD RAID
    (8192 + 1372, b"\x19\x01\x54\x19"),  # UFS1
    (32768, b"JFS1"),
    (32769, b"BEA01"),  # UDF
    (65536 + 52, b"ReIsEr"),
    (65536 + 64, b"_BHRfS_M"),
    (65536 + 1372, b"\x19\x01\x54\x19"),  # UFS2
)


def other(head: bytes) -> str:
    """The name of what ``head`` begins that is no disk image, or empty."""
    for offset, magic, name in _OTHERS:
        if head.startswith(magic, offset):
            return name
    return _told_apart(head)


def has_system(head: bytes) -> bool:
    """Whether there is a boot sector, a partition table, a file system or a container of one."""
    return any(head.startswith(magic, offset) for offset, magic in _SYSTEMS)


def _told_apart(head: bytes) -> str:
    """What has too short a mark to be told by it alone."""
    if head.startswith(b"\x5d\0\0") and head[5:13] == b"\xff" * 8:
        return "a file compressed with lzma"
    if head[514:518] == b"HdrS":
        return "a Linux kernel"
    if head.startswith(b"MZ") and len(head) >= 64:
        (offset,) = struct.unpack_from("<I", head, 60)
        if head[offset : offset + 4] == b"PE\0\0":
            return "a Windows or EFI program"
    return _old_tar(head)


def _old_tar(head: bytes) -> str:
    """A tar archive of before POSIX has no mark, but the sum of its first header."""
    block = head[:512]
    field = block[148:156].strip(b" \0")
    if len(block) < 512 or not block[0] or not field or any(byte not in b"01234567" for byte in field):
        return ""
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return "a tar archive" if int(field, 8) == total else ""
