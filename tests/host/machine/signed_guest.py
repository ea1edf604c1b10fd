"""The small guest behind Debian's signed shim and GRUB, which secure boot lets start."""

from __future__ import annotations

from pathlib import Path

from tests.guest.builder import COMMAND_LINE
from tests.guest.disk import ESP_START, MIB, run

_SIGNED = {
    "EFI/BOOT/BOOTX64.EFI": ("shim-signed", "usr/lib/shim/shimx64.efi.signed"),
    "EFI/BOOT/grubx64.efi": ("grub-efi-amd64-signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
}
"""Place on the disk → package and file. Unpacked, never installed: these would change how this host boots."""
_CONFIG = f"""\
serial --unit=0 --speed=115200
terminal_output serial
linux /vmlinuz {COMMAND_LINE} loglevel=7
initrd /initrd
boot
"""


def write_signed_disk(target: Path, guest: Path, *, work: Path) -> None:
    """Write a raw disk, all of it an EFI system partition, with the kernel of ``guest``, which Debian signed."""
    raw, config = work / "guest.raw", work / "grub.cfg"
    run("qemu-img", "convert", "-O", "raw", guest, raw)
    config.write_text(_CONFIG)
    files = {"EFI/debian/grub.cfg": config}
    for file in ("vmlinuz", "initrd"):
        run("mcopy", "-i", f"{raw}@@{ESP_START}", f"::{file}", work / file)
        files[file] = work / file
    for place, (package, file) in _SIGNED.items():
        fetch = 'cd "$1" && apt-get -qq -o APT::Sandbox::User=root download "$2" && dpkg-deb -x "$2"_*.deb "$2"'
        run("sh", "-ec", fetch, "sh", work, package)
        files[place] = work / package / file
    size = sum(path.stat().st_size for path in files.values()) + 4 * MIB
    with target.open("wb") as disk:
        disk.truncate(-(-size // MIB) * MIB)
    run("mkfs.vfat", "-F", "16", "--invariant", "-n", "SIGNED", target)
    run("mmd", "-i", target, "::EFI", "::EFI/BOOT", "::EFI/debian")
    for place, path in files.items():
        run("mcopy", "-i", target, path, f"::{place}")
