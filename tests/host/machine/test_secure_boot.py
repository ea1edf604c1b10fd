"""Secure boot: what nobody signed is refused, what Debian signed starts, the firmware keeps its variables."""

from __future__ import annotations

from pathlib import Path

from tests.host.machine.signed_guest import write_signed_disk
from tests.host.running import Hyperd, ImageServer, disk, image, machine

NAME = "secure"


def test_secure_boot_starts_what_is_signed_and_nothing_else(
    hyperd: Hyperd, images: ImageServer, guest_image: Path, tmp_path: Path
) -> None:
    write_signed_disk(images.folder / "signed.raw", guest_image, work=tmp_path)
    hyperd.create(image("signed", f"{images.url}/signed.raw"))
    for name, source in (("unsigned", "guest"), ("signed", "signed")):
        hyperd.create(disk(name, image=source))
    # The firmware's own pages and the kernel's take more than the other guests have.
    spec = {"bootloader": "EFIWithSecureBoot", "memory": {"size": "512Mi"}, "terminationGracePeriodSeconds": 0}
    devices = [{"kind": "VirtualDisk", "name": name} for name in ("unsigned", "signed")]
    hyperd.create(machine(NAME, "unsigned", **spec, blockDeviceRefs=devices))
    vm = hyperd.wait_phase("vm", NAME, "Running")
    hyperd.wait_console(vm, "login:")
    said = hyperd.console_log(vm)
    assert said.index("Access Denied") < said.index("UEFI Secure Boot is enabled")
    assert "Kernel is locked down from EFI Secure Boot" in said

    folder = hyperd.state_dir / "nvram"
    uid = vm["metadata"]["uid"]
    assert (folder / f"{uid}.secure.fd").exists()
    hyperd.delete("vm", NAME)
    hyperd.wait_gone("vm", NAME)
    assert not [path for path in folder.iterdir() if path.name.startswith(uid)]
    for word, name in (("vd", "unsigned"), ("vd", "signed"), ("vi", "signed")):
        hyperd.delete(word, name)
        hyperd.wait_gone(word, name)
