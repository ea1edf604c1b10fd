"""Pulls by a QEMU that is killed in the end, in a libvirt of this process's own: ``-m …pulling <folder> <what>``.

``killed``: right after the pull. ``grown`` and ``unplugged``: a disk that is still being pulled into.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import libvirt

from hyperd.errors import HyperdError
from hyperd.hypervisor.actions import actions, blocks, hotplug
from hyperd.imagefile.handle import DiskFormat, FileHandle

SIZE = 8 << 20
SLOW = 1
"""Byte in a second."""
_CONFIG = """
stdio_handler = "file"
user = "root"
group = "root"
namespaces = []
cgroup_controllers = []
security_driver = "none"
"""
_DOMAIN = """
<domain type='qemu'>
  <name>pulling</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <controller type='scsi' model='virtio-scsi'/>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/><source file='{top}'/>
      <target dev='sda' bus='scsi'/><serial>one</serial>
    </disk>
  </devices>
  <seclabel type='none' model='dac'/>
</domain>
"""


def _events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def make(folder: Path) -> Path:
    """``top`` over ``lower``, which alone has data, over ``base``; the top."""
    below: list[str] = []
    for name in ("base", "lower", "top"):
        path = folder / name
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *below, path, str(SIZE)], check=True)
        below = ["-F", "qcow2", "-b", str(path)]
    write = ["qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 8M", folder / "lower"]
    subprocess.run([str(each) for each in write], check=True)
    return folder / "top"


def pulled_and_settled(conn: libvirt.virConnect, folder: Path, uid: str) -> None:
    blocks.begin_pull(conn, uid, serial="one", base=FileHandle(folder / "base", DiskFormat.QCOW2))
    assert blocks.await_merge(conn, uid, serial="one", seconds=30)
    assert blocks.settle(conn, uid, serial="one")


def pulling(conn: libvirt.virConnect, folder: Path, uid: str) -> libvirt.virDomain:
    dom = conn.lookupByUUIDString(uid)
    dom.blockRebase("sda", str(folder / "base"), SLOW, libvirt.VIR_DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES)
    assert dom.blockJobInfo("sda")
    return dom


def grown(conn: libvirt.virConnect, folder: Path, uid: str) -> None:
    dom = pulling(conn, folder, uid)
    actions.block_resize(conn, uid, source=FileHandle(folder / "top", DiskFormat.QCOW2), size_bytes=2 * SIZE)
    assert dom.blockInfo("sda")[0] == 2 * SIZE


def unplugged(conn: libvirt.virConnect, folder: Path, uid: str) -> None:
    pulling(conn, folder, uid)
    assert hotplug.detach_disk(conn, uid, serial="one")
    assert blocks.sources(conn, uid) == {}


WHAT = {"killed": pulled_and_settled, "grown": grown, "unplugged": unplugged}


def main(folder: Path, what: str) -> None:
    """Leaves ``top``."""
    faulthandler.dump_traceback_later(100, exit=True)
    root = folder / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/qemu.conf").write_text(_CONFIG)
    top = make(folder)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_events, daemon=True).start()
    conn = libvirt.open(f"qemu:///embed?root={root}")
    dom = conn.createXML(_DOMAIN.format(top=top), libvirt.VIR_DOMAIN_START_PAUSED)
    pid, code = int(next(root.rglob("pulling.pid")).read_text()), 1
    try:
        WHAT[what](conn, folder, dom.UUIDString())
        code = 0
    except (AssertionError, HyperdError, libvirt.libvirtError, OSError):
        traceback.print_exc()
    finally:
        os.kill(pid, signal.SIGKILL)
    os._exit(code)  # its threads wait for a guest that is gone


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
