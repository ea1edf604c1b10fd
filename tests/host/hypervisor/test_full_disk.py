"""A guest that fills its disk's file system pauses, and goes on when there is space again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.spec import DiskCache, DiskSpec, DomainSpec
from hyperd.hypervisor.state import DomainState, IoError
from hyperd.imagefile.handle import DiskFormat, FileHandle
from tests.host.hypervisor.conftest import Record
from tests.host.node import Node
from tests.unit.hypervisor import specs

WRITER = bytes.fromhex(
    "31c0 8ed8"  #                xor ax, ax; mov ds, ax
    "be1a7c b443 b000 b280 cd13"  # next: si = packet; extended write to disk 0x80
    "668106227c40000000 ebea"  #  packet.lba += 64; jmp next
    "10004000 00800000 0008000000000000"  # packet: 64 sectors from 0000:8000 to sector 2048
)
"""A boot sector that writes 32 KiB blocks without end."""


async def test_a_guest_paused_by_a_full_file_system_goes_on_when_there_is_space(
    node: Node, hypervisor: LibvirtHypervisor, record: Record, qemu_dir: Path, spec: DomainSpec
) -> None:
    small = qemu_dir / "small"
    small.mkdir()
    node.exec(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", small])
    (qemu_dir / "raw").write_bytes(WRITER.ljust(510, b"\0") + b"\x55\xaa")
    disk = small / "disk.qcow2"
    node.exec(["truncate", "-s", "64M", qemu_dir / "raw"])
    node.exec(["qemu-img", "convert", "-O", "qcow2", qemu_dir / "raw", disk])
    root = DiskSpec(
        name="vd-root",
        source=FileHandle(disk, DiskFormat.QCOW2),
        serial=specs.serial(1),
        boot_order=1,
        cache=DiskCache.WRITEBACK,
    )
    await hypervisor.define_and_start(replace(spec, disks=(root,)))

    assert (await record.event("io-error")).reason == "enospc"
    assert (await record.event("suspended")).reason == "ioerror"
    paused = await hypervisor.info(spec.uid)
    assert paused is not None
    assert (paused.state, paused.reason) == (DomainState.PAUSED, "ioerror")
    assert await hypervisor.io_errors(spec.uid) == {"sda": IoError.NO_SPACE}

    node.exec(["mount", "-o", "remount,size=100m", small])
    written = (await hypervisor.stats([spec.uid]))[spec.uid].disks[0].write_bytes
    await hypervisor.resume(spec.uid)
    while (sample := (await hypervisor.stats([spec.uid]))[spec.uid].disks[0]).write_bytes < written + (8 << 20):
        assert (await hypervisor.info(spec.uid)) is not None, sample
    running = await hypervisor.info(spec.uid)
    assert running is not None
    assert running.state is DomainState.RUNNING
    assert running.pid == paused.pid
    await hypervisor.destroy(spec.uid)
    node.exec(["umount", small])
