"""Boot media of the small guest, put together without root, loop devices or mounts.

The disk is a GPT that boots from BIOS (GRUB in a BIOS-boot partition) and from UEFI (GRUB in the ESP); its
third partition is an empty FAT that the guest writes to, so a test can see that data outlives a restart.
The ISO boots both ways as well.
"""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
MIB = 1 << 20
GRUB = Path("/usr/lib/grub")
EPOCH = "1700000000"
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

CORE_START = MIB
ESP_START = 2 * MIB
STATE_BYTES = 2 * MIB
COMMON_MODULES = ("normal", "linux", "serial", "terminal", "echo", "search", "search_fs_file")


@dataclass(frozen=True)
class Payload:
    """What GRUB starts."""

    kernel: bytes
    initramfs: bytes
    command_line: str


def run(*argv: str | Path, stdin: str | None = None) -> str:
    """Run a build tool with a fixed clock; its output is shown only when it fails."""
    # mtools refuses geometry that it finds odd, and takes file times from SOURCE_DATE_EPOCH.
    env = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C", "TZ": "UTC"}
    done = subprocess.run(
        [str(part) for part in argv], input=stdin, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{argv[0]} failed ({done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def write_disk(target: Path, payload: Payload, *, work: Path) -> None:
    """Write the raw hybrid disk to ``target``."""
    config = _grub_config(work, payload, locate="")
    core = _grub_image(
        work, config, platform="i386-pc", modules=("biosdisk", "part_gpt", "fat"), prefix="(,gpt2)/"
    )
    efi = _grub_image(work, config, platform="x86_64-efi", modules=("part_gpt", "fat"), prefix="/")
    esp = _fat(
        work / "esp.fat",
        label="ESP",
        size=_whole_mib(len(payload.kernel) + len(payload.initramfs) + efi.stat().st_size + MIB),
        files={
            "vmlinuz": _file(work / "vmlinuz", payload.kernel),
            "initrd": _file(work / "initrd", payload.initramfs),
            "EFI/BOOT/BOOTX64.EFI": efi,
        },
    )
    state = _fat(work / "state.fat", label="STATE", size=STATE_BYTES, files={})
    state_start = ESP_START + esp.stat().st_size
    with target.open("wb") as disk:
        disk.truncate(state_start + STATE_BYTES + MIB)
    _partition(target, state_start=state_start)
    with target.open("r+b") as disk:
        disk.seek(ESP_START)
        disk.write(esp.read_bytes())
        disk.seek(state_start)
        disk.write(state.read_bytes())
        _install_bios_grub(disk.fileno(), core.read_bytes())


def write_iso(target: Path, payload: Payload, *, work: Path) -> None:
    """Write an ISO 9660 image, bootable from a CD drive by BIOS and UEFI."""
    tree = work / "iso"
    (tree / "guest").mkdir(parents=True)
    # A name of its own: the search must not find the kernel of a disk that is attached beside the CD.
    _file(tree / "guest/cd-vmlinuz", payload.kernel)
    _file(tree / "guest/cd-initrd", payload.initramfs)
    config = _grub_config(
        work, payload, locate="search --set=root --file /guest/cd-vmlinuz", directory="/guest/cd-"
    )
    modules = ("iso9660", "part_gpt", "fat")
    bios = _grub_image(work, config, platform="i386-pc", modules=("biosdisk", *modules), prefix="/", eltorito=True)
    efi = _grub_image(work, config, platform="x86_64-efi", modules=modules, prefix="/")
    (tree / "guest/bios.img").write_bytes(bios.read_bytes())
    size = _whole_mib(efi.stat().st_size + MIB)
    _fat(tree / "guest/efi.img", label="ESP", size=size, files={"EFI/BOOT/BOOTX64.EFI": efi})
    run(
        *("xorriso", "-as", "mkisofs", "-quiet", "-V", "HYPERD_GUEST", "-J", "-r", "-o", target),
        *("-c", "guest/boot.cat", "-b", "guest/bios.img", "-no-emul-boot", "-boot-load-size", "4"),
        *("-boot-info-table", "--grub2-boot-info"),
        *("-eltorito-alt-boot", "-e", "guest/efi.img", "-no-emul-boot", tree),
    )


def _grub_config(work: Path, payload: Payload, *, locate: str, directory: str = "/") -> Path:
    lines = (
        "serial --unit=0 --speed=115200",
        "terminal_output console serial",
        locate,
        "echo hyperd test guest: loading",
        f"linux {directory}vmlinuz {payload.command_line}",
        f"initrd {directory}initrd",
        "boot",
    )
    return _file(work / "grub.cfg", "\n".join(lines).encode() + b"\n")


def _grub_image(
    work: Path, config: Path, *, platform: str, modules: tuple[str, ...], prefix: str, eltorito: bool = False
) -> Path:
    output = work / f"core.{platform}"
    kind = platform + ("-eltorito" if eltorito else "")
    run("grub-mkimage", "-O", kind, "-o", output, "-c", config, "-p", prefix, *COMMON_MODULES, *modules)
    return output


def _fat(target: Path, *, label: str, size: int, files: dict[str, Path]) -> Path:
    with target.open("wb") as volume:
        volume.truncate(size)
    run("mkfs.vfat", "--invariant", "-n", label, target)
    for name, source in files.items():
        parents = [str(parent) for parent in reversed(Path(name).parents) if str(parent) != "."]
        for parent in parents:
            run("mmd", "-i", target, f"::{parent}")
        run("mcopy", "-i", target, source, f"::{name}")
    return target


def _partition(disk: Path, *, state_start: int) -> None:
    def line(number: int, start: int, size: int, kind: str) -> str:
        uuid = f"00000000-0000-4000-8000-{number:012d}"
        return f"start={start // SECTOR}, size={size // SECTOR}, type={kind}, uuid={uuid}"

    table = (
        "label: gpt",
        "label-id: 00000000-0000-4000-8000-000000000000",
        line(1, CORE_START, ESP_START - CORE_START, BIOS_BOOT),
        line(2, ESP_START, state_start - ESP_START, ESP),
        line(3, state_start, STATE_BYTES, LINUX_DATA),
    )
    run("sfdisk", "--quiet", disk, stdin="\n".join(table) + "\n")


def _install_bios_grub(disk: int, core: bytes) -> None:
    """What grub-bios-setup does: boot code to the MBR, the core to its partition, each told where to go on."""
    if len(core) > ESP_START - CORE_START:
        raise SystemExit("GRUB's core image does not fit the BIOS-boot partition.")
    first = CORE_START // SECTOR
    sectors = -(-len(core) // SECTOR)
    boot = bytearray((GRUB / "i386-pc/boot.img").read_bytes()[:440])
    struct.pack_into("<Q", boot, 0x5C, first)
    boot[0x66:0x68] = b"\x90\x90"
    loader = bytearray(core)
    struct.pack_into("<QHH", loader, 0x1F4, first + 1, sectors - 1, 0x820)
    os.pwrite(disk, boot, 0)
    os.pwrite(disk, loader, CORE_START)


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _whole_mib(size: int) -> int:
    return -(-size // MIB) * MIB
