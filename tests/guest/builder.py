"""Builds the small guest out of Debian packages and keeps the result by the hash of what went into it.

Nothing is installed or mounted and no root is needed: the kernel comes out of its package, busybox from
the host, the rest is written by hand. Two builds at once wait for each other; a file appears only when whole.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from tests.guest.cpio import Archive
from tests.guest.disk import Payload, run, write_disk, write_iso

HERE = Path(__file__).resolve().parent
BUSYBOX = Path("/bin/busybox")
KERNEL_PACKAGE = "linux-image-cloud-amd64"
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "sr_mod", "virtio_net", "virtio_console"),
    *(
        "virtio_balloon",
        "virtio_rng",
        "ata_piix",
        "button",
        "evdev",
        "isofs",
        "vfat",
        "nls_ascii",
        "nls_cp437",
    ),
)
AGENT_PACKAGE = "qemu-guest-agent"
AGENT_MODULES = ("ext4",)
"""For the agent to have something to freeze."""
# A guest that panics must end, not spin. TCG's timer fails the kernel's self-test on a busy host.
COMMAND_LINE = "console=tty0 console=ttyS0,115200 panic=-1 no_timer_check loglevel=4 mitigations=off"
TOOLS = {
    "apt-get": "apt",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "grub-mkimage": "grub-common",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "qemu-img": "qemu-utils",
    "sfdisk": "fdisk",
    "xorriso": "xorriso",
}
FILES = {
    BUSYBOX: "busybox-static",
    Path("/usr/lib/grub/i386-pc/boot.img"): "grub-pc-bin",
    Path("/usr/lib/grub/x86_64-efi/kernel.img"): "grub-efi-amd64-bin",
}


class Form(StrEnum):
    """How the guest comes: two disk formats and a CD."""

    QCOW2 = "qcow2"
    RAW = "raw"
    ISO = "iso"


def image(form: Form | str = Form.QCOW2, *, agent: bool = False) -> Path:
    """The guest's image file, read-only; built when it is not there yet (some seconds).

    With ``agent`` it has QEMU's guest agent, and takes longer to boot.
    """
    form = Form(form)
    _require_tools()
    kernel = _kernel_package()
    cache = cache_dir()
    target = cache / f"guest-{_fingerprint(kernel)}{'-agent' if agent else ''}.{form}"
    if target.exists():
        return target
    with locked(cache), tempfile.TemporaryDirectory(dir=cache, prefix="build-") as folder:
        if not target.exists():
            _build(target, form, kernel=kernel, agent=agent, work=Path(folder))
    return target


def _build(target: Path, form: Form, *, kernel: str, agent: bool, work: Path) -> None:
    payload = _payload(kernel, work, agent=agent, media="cd" if form is Form.ISO else "disk")
    result = work / f"result.{form}"
    if form is Form.ISO:
        write_iso(result, payload, work=work)
    else:
        raw = work / "result.raw"
        write_disk(raw, payload, work=work)
        if form is Form.QCOW2:
            # One coroutine: more of them write the compressed clusters in varying order.
            options = ("-m", "1", "-c", "-o", "compression_type=zstd")
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, result)
    result.chmod(0o444)
    result.rename(target)


def _payload(kernel: str, work: Path, *, agent: bool, media: str) -> Payload:
    tree = work / "kernel"
    run("dpkg-deb", "-x", _download(kernel, work), tree)
    (vmlinuz,) = (tree / "boot").glob("vmlinuz-*")
    release = vmlinuz.name.removeprefix("vmlinuz-")
    programs = _agent(work) if agent else {}
    return Payload(
        kernel=vmlinuz.read_bytes(),
        initramfs=_initramfs(tree, release, programs),
        command_line=f"{COMMAND_LINE} guest.media={media}",
    )


def _agent(work: Path) -> dict[str, Path]:
    """Where in the guest → the agent and the libraries that it needs, which are this host's."""
    tree = work / "agent"
    run("dpkg-deb", "-x", _download(AGENT_PACKAGE, work), tree)
    program = tree / "usr/sbin/qemu-ga"
    shown = [line.split() for line in run("ldd", program).splitlines()]
    found = [next((word for word in words if word.startswith("/")), "") for words in shown]
    missing = [words[0] for words in shown if "not" in words]
    if missing:
        raise SystemExit(f"The guest agent needs libraries of this host: {' '.join(missing)}")
    libraries = {path.lstrip("/"): Path(path).resolve() for path in found if path}
    return {"bin/qemu-ga": program, **libraries}


def _initramfs(tree: Path, release: str, programs: Mapping[str, Path]) -> bytes:
    archive = Archive()
    for path in ("proc", "sys", "dev", "run", "tmp", "mnt", "state", "var/log", "var/run", "www"):
        archive.directory(path)
    archive.character_device("dev/console", 5, 1)
    for applet in run(BUSYBOX, "--list").split():
        archive.symlink(f"bin/{applet}", "busybox")
    archive.file("bin/busybox", BUSYBOX.read_bytes(), executable=True)
    archive.symlink("init", "bin/busybox")
    archive.symlink("sbin", "bin")
    archive.tree(HERE / "root")
    for folder in sorted({str(parent) for path in programs for parent in Path(path).parents} - {".", "bin"}):
        archive.directory(folder)
    for where, program in programs.items():
        archive.file(where, program.read_bytes(), executable=True)
    order = _module_order(tree, release, AGENT_MODULES if programs else ())
    for module in order:
        archive.file(f"lib/modules/{module.name}", module.read_bytes())
    archive.file("lib/modules/order", "".join(f"{module.name}\n" for module in order).encode())
    return archive.compressed()


def _module_order(tree: Path, release: str, more: Sequence[str]) -> list[Path]:
    """Files of the modules in the order to load them; dependencies of virtio are easily missed by hand."""
    run("depmod", "-b", tree, release)
    shown = run("modprobe", "-d", tree, "-S", release, "--show-depends", "--all", *MODULES, *more)
    files = [Path(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod ")]
    return list(dict.fromkeys(files))


def _kernel_package() -> str:
    """``name=version`` of the newest cloud kernel that this host's apt knows."""
    depends = run("apt-cache", "depends", KERNEL_PACKAGE)
    names = [line.split()[1] for line in depends.splitlines() if line.strip().startswith("Depends:")]
    if not names:
        raise SystemExit(f"apt knows no {KERNEL_PACKAGE}; run: apt-get update")
    policy = run("apt-cache", "policy", names[0])
    version = next(line.split()[1] for line in policy.splitlines() if line.strip().startswith("Candidate:"))
    return f"{names[0]}={version}"


def _download(package: str, work: Path) -> Path:
    folder = work / f"download-{package.partition('=')[0]}"
    folder.mkdir()
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package],
        cwd=folder,
        stdout=sys.stderr,
        check=True,
    )
    (deb,) = folder.glob("*.deb")
    return deb


def _fingerprint(kernel: str) -> str:
    digest = hashlib.sha256(kernel.encode())
    digest.update(run("qemu-img", "--version").encode())
    digest.update(run("grub-mkimage", "--version").encode())
    digest.update(BUSYBOX.read_bytes())
    for file in sorted(path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{file.relative_to(HERE)} {file.stat().st_mode & 0o111:o}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _require_tools() -> None:
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    missing += [package for file, package in FILES.items() if not file.exists()]
    if missing:
        raise SystemExit(f"The guest image needs more tools; run: apt-get install {' '.join(sorted(missing))}")


def cache_dir() -> Path:
    """Outside the checkout; readable by QEMU's user, as tests boot these files in place."""
    home = os.environ.get("XDG_CACHE_HOME") or ("/var/cache" if os.geteuid() == 0 else str(Path.home() / ".cache"))
    folder = Path(home) / "hyperd-dev"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Entry point of ``tests/guest/build``."""
    parser = argparse.ArgumentParser(
        prog="tests/guest/build",
        description="Build the small guest image (kernel, busybox, serial login) and print the file's path.",
    )
    choice = parser.add_mutually_exclusive_group()
    for form in Form:
        choice.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=f"as {form}")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also copy the image to FILE")
    parser.add_argument("--agent", action="store_true", help="with QEMU's guest agent")
    parser.set_defaults(form=Form.QCOW2)
    args = parser.parse_args()
    built = image(args.form, agent=args.agent)
    if args.output:
        shutil.copyfile(built, args.output)
    sys.stdout.write(f"{args.output or built}\n")
    return 0
