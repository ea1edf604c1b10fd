"""Blocking calls on the block devices of running guests: to other files, and files made one.

Disks are told apart by serial: a target is another disk's after a restart that changed the order.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree as ET

import libvirt

from hyperd import clock, errors
from hyperd.hypervisor.actions.reader import lookup
from hyperd.hypervisor.xml.disk_source import add_source, disk_type, read_source
from hyperd.hypervisor.xml.element import add, attribute
from hyperd.imagefile import files, qcow2
from hyperd.imagefile.handle import FileHandle, Handle

_ATOMIC = (
    libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
)
_MERGES = (libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL, libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT)
"""Jobs that may be ended any time: each chain reads as before, and they are begun anew."""
_LOOK_SECONDS: Final = 0.2
AGENT_SECONDS: Final = 8
"""How long a guest's agent may take to freeze or thaw."""


def sources(conn: libvirt.virConnect, uid: str) -> dict[str, Handle]:
    """Serial → what the disk is open by; nothing of a guest that is off."""
    dom = lookup(conn, uid)
    if not dom.isActive():
        return {}
    tree = ET.fromstring(dom.XMLDesc(0))  # noqa: S314  libvirtd's own XML
    found = ((disk.findtext("serial", ""), read_source(disk)) for disk in tree.iterfind("devices/disk"))
    return {serial: source for serial, source in found if source is not None}


def pivot(conn: libvirt.virConnect, uid: str, *, tops: Mapping[str, Handle]) -> None:
    """Have the disks written to other files, which overlay those they are written to now; all at once or none."""
    dom = lookup(conn, uid)
    tree = ET.fromstring(dom.XMLDesc(0))  # noqa: S314  libvirtd's own XML
    wanted = dict(tops)
    body = ET.Element("domainsnapshot")
    disks = ET.SubElement(body, "disks")
    changing = []
    for disk in tree.iterfind("devices/disk"):
        target, top = attribute(disk, "target", "dev"), wanted.pop(disk.findtext("serial", ""), None)
        if top is None or read_source(disk) == top:
            ET.SubElement(disks, "disk", {"name": target, "snapshot": "no"})
            continue
        changing.append((target, top))
        element = ET.SubElement(disks, "disk", {"name": target, "snapshot": "external", "type": disk_type(top)})
        add(element, "driver", {"type": top.format})
        add_source(element, top)
    if wanted:
        raise errors.NotFound(f"Domain {uid} has no disk with the serial {next(iter(wanted))}.")
    for target, top in changing:
        _require_same_size(dom, target, top)
        end_merge(dom, target)
    if changing:
        dom.snapshotCreateXML(ET.tostring(body, encoding="unicode"), _ATOMIC)


def begin_pull(conn: libvirt.virConnect, uid: str, *, serial: str, base: Handle | None) -> None:
    """Have the disk's top read ``base`` next, with all that lies between copied into it."""
    dom, target = _disk(conn, uid, serial)
    if not dom.blockJobInfo(target):
        if base is None:
            dom.blockPull(target, 0, 0)
        else:
            dom.blockRebase(target, str(base), 0, 0)


def begin_commit(conn: libvirt.virConnect, uid: str, *, serial: str, upper: Handle, lower: Handle) -> None:
    """Have what ``upper`` has copied into ``lower``, which takes its place."""
    dom, target = _disk(conn, uid, serial)
    if not dom.blockJobInfo(target):
        dom.blockCommit(target, str(lower), str(upper), 0, 0)


def await_merge(conn: libvirt.virConnect, uid: str, *, serial: str, seconds: float) -> bool:
    """Whether the disk has no job any more, within ``seconds``."""
    dom, target = _disk(conn, uid, serial)
    until = time.monotonic() + seconds
    while dom.blockJobInfo(target):
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def settle(conn: libvirt.virConnect, uid: str, *, serial: str) -> bool:
    """Have what was pulled into the disk's top stand in that file's tables; False while the pull goes on.

    QEMU writes the header at the end of a pull, and keeps the tables until the guest flushes: one that is killed
    before that leaves a file that has none of it. To resize it to the size that it has writes them out. Raises
    NotFound for a guest that is off: nobody knows then.
    """
    if not lookup(conn, uid).isActive():
        raise errors.NotFound(f"Domain {uid} does not run any more.")
    dom, target = _disk(conn, uid, serial)
    if dom.blockJobInfo(target):
        return False
    dom.blockResize(target, dom.blockInfo(target, 0)[0], libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    return True


def freeze(conn: libvirt.virConnect, uid: str) -> int:
    dom = lookup(conn, uid)
    dom.agentSetResponseTimeout(AGENT_SECONDS, 0)
    frozen: int = dom.fsFreeze()
    return frozen


def thaw(conn: libvirt.virConnect, uid: str) -> int:
    """Of a guest that is off or not frozen: nothing."""
    dom = lookup(conn, uid)
    if not dom.isActive():
        return 0
    dom.agentSetResponseTimeout(AGENT_SECONDS, 0)
    thawed: int = dom.fsThaw()
    return thawed


def set_clock(conn: libvirt.virConnect, uid: str) -> int:
    """To the time that it is here; 1. By its agent, so the guest may do as it likes."""
    dom = lookup(conn, uid)
    with contextlib.suppress(libvirt.libvirtError):  # not all drivers can
        dom.agentSetResponseTimeout(AGENT_SECONDS, 0)
    seconds, nanoseconds = divmod(round(clock.wall() * 1e9), 10**9)
    dom.setTime({"seconds": seconds, "nseconds": nanoseconds}, 0)
    return 1


def find_disk(conn: libvirt.virConnect, uid: str, serial: str) -> tuple[libvirt.virDomain, ET.Element]:
    """The domain and its disk, as it is now. Raises NotFound."""
    dom = lookup(conn, uid)
    tree = ET.fromstring(dom.XMLDesc(0))  # noqa: S314  libvirtd's own XML
    for disk in tree.iterfind("devices/disk"):
        if disk.findtext("serial", "") == serial:
            return dom, disk
    raise errors.NotFound(f"Domain {uid} has no disk with the serial {serial}.")


def _disk(conn: libvirt.virConnect, uid: str, serial: str) -> tuple[libvirt.virDomain, str]:
    dom, disk = find_disk(conn, uid, serial)
    return dom, attribute(disk, "target", "dev")


def end_merge(dom: libvirt.virDomain, target: str) -> None:
    """Where the disk has one: what is to be done with it now does not wait for that."""
    if (dom.blockJobInfo(target) or {}).get("type") in _MERGES:
        dom.blockJobAbort(target, 0)


def _require_same_size(dom: libvirt.virDomain, target: str, top: Handle) -> None:
    """A disk that grew since the overlay was made would shrink, and the guest lose its end."""
    if not isinstance(top, FileHandle):
        return
    with files.open_regular(top.path) as file:
        header = qcow2.read_own(file)
    capacity = dom.blockInfo(target, 0)[0]
    if header is None or header.virtual_size != capacity:
        raise errors.Conflict(f"Disk {target} of domain {dom.UUIDString()} has {capacity} bytes by now.")
