"""Blocking calls that have a running guest's disk copied to another file, and go on in that."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import libvirt

from hyperd import errors
from hyperd.hypervisor.actions.blocks import find_disk
from hyperd.hypervisor.state import Mirror
from hyperd.hypervisor.xml.disk_source import add_below, add_source, disk_type, read_source
from hyperd.hypervisor.xml.element import add, attribute
from hyperd.imagefile.handle import Handle

_FLAGS = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
_WHOLE = libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES
"""A guest that writes faster than is copied would never be done, were its writes not made to both at once.

A shallow copy is little, and does without: over a source that is an NBD client such a QEMU 7.2 has crashed.
"""


def begin(
    conn: libvirt.virConnect,
    uid: str,
    *,
    serial: str,
    target: Handle,
    bytes_per_second: int = 0,
    shallow: bool = False,
) -> None:
    """Into ``target``, which is there and as large; a ``shallow`` one without what the disk overlays.

    0 is no limit.
    """
    dom, disk = _disk(conn, uid, serial)
    device = attribute(disk, "target", "dev")
    if dom.blockJobInfo(device):
        raise errors.TemporaryError("The disk is busy with another job of its guest.")
    element = ET.Element("disk", {"type": disk_type(target)})
    add(element, "driver", {"name": "qemu", "type": target.format})
    add_source(element, target)
    add_below(element, target)
    limit = {libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH: bytes_per_second} if bytes_per_second else {}
    flags = _FLAGS | (libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW if shallow else _WHOLE)
    dom.blockCopy(device, ET.tostring(element, encoding="unicode"), limit, flags)


def state(conn: libvirt.virConnect, uid: str, *, serial: str) -> Mirror | None:
    dom, disk = _disk(conn, uid, serial)
    mirror = disk.find("mirror")
    job = dom.blockJobInfo(attribute(disk, "target", "dev"))
    if mirror is None or not job:
        return None
    return Mirror(job["cur"], job["end"], mirror.get("ready") == "yes")


def end(conn: libvirt.virConnect, uid: str, *, serial: str) -> None:
    """What was copied is left; the guest goes on as before."""
    try:
        dom, disk = _disk(conn, uid, serial)
    except errors.NotFound:
        return
    if disk.find("mirror") is not None:
        dom.blockJobAbort(attribute(disk, "target", "dev"), 0)


def take(conn: libvirt.virConnect, uid: str, *, serial: str, target: Handle) -> None:
    """Stop the guest, and have its disk be ``target``, which holds all that it wrote."""
    dom, disk = _disk(conn, uid, serial)
    if read_source(disk) == target:
        return
    mirror = disk.find("mirror")
    if mirror is None or mirror.get("ready") != "yes":
        raise errors.TemporaryError("The copy of the disk is not complete any more.")
    if dom.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
        raise errors.TemporaryError("The guest is stopped: its disk is moved once it goes on.")
    dom.suspend()
    try:
        dom.blockJobAbort(attribute(disk, "target", "dev"), libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        _, after = _disk(conn, uid, serial)
        if read_source(after) != target:
            raise errors.TemporaryError("The guest did not go on in the copy of its disk.")
    except (libvirt.libvirtError, errors.HyperdError):
        _, after = _disk(conn, uid, serial)
        if read_source(after) != target:
            dom.resume()
        raise


def _disk(conn: libvirt.virConnect, uid: str, serial: str) -> tuple[libvirt.virDomain, ET.Element]:
    """Of a guest that runs; NotFound else."""
    dom, disk = find_disk(conn, uid, serial)
    if not dom.isActive():
        raise errors.NotFound(f"Domain {uid} does not run any more.")
    return dom, disk
