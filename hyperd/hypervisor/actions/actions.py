"""Blocking changes of domains, run in worker threads.

Each is idempotent: what is so already is no error, so that a controller may repeat a step after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree as ET

import libvirt

from hyperd import errors
from hyperd.hypervisor.actions.blocks import end_merge
from hyperd.hypervisor.actions.reader import lookup
from hyperd.hypervisor.xml.disk_source import target_of
from hyperd.hypervisor.xml.domain import METADATA_NAMESPACE, METADATA_PREFIX
from hyperd.imagefile.handle import Handle

_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)
_WITH_FIRMWARE = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_TPM
_KEEPING_FIRMWARE = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM


@contextmanager
def _unless(*, dom: libvirt.virDomain, active: bool) -> Iterator[None]:
    """Forgive a call that libvirt finds invalid because the domain is (not) active already."""
    try:
        yield
    except libvirt.libvirtError as err:
        if err.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or bool(dom.isActive()) != active:
            raise


def start(conn: libvirt.virConnect, uid: str, *, paused: bool) -> None:
    _start(lookup(conn, uid), paused=paused)


def define(conn: libvirt.virConnect, xml: str) -> None:
    conn.defineXML(xml)


def define_and_start(conn: libvirt.virConnect, xml: str, *, paused: bool) -> None:
    _start(conn.defineXML(xml), paused=paused)


def shutdown(conn: libvirt.virConnect, uid: str) -> None:
    """Only the ACPI button: asking the agent would hold this thread until the guest is off, or for a minute."""
    dom = lookup(conn, uid)
    with _unless(dom=dom, active=False):
        dom.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)


def reset(conn: libvirt.virConnect, uid: str) -> None:
    lookup(conn, uid).reset(0)


def destroy(conn: libvirt.virConnect, uid: str) -> None:
    """Without GRACEFUL: SIGTERM, and SIGKILL if QEMU does not go."""
    dom = lookup(conn, uid)
    with _unless(dom=dom, active=False):
        dom.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_DEFAULT)


def undefine(conn: libvirt.virConnect, uid: str, *, nvram: bool) -> None:
    try:
        lookup(conn, uid).undefineFlags(_UNDEFINE | (_WITH_FIRMWARE if nvram else _KEEPING_FIRMWARE))
    except libvirt.libvirtError as err:
        if err.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def resume(conn: libvirt.virConnect, uid: str) -> None:
    """Of a guest that runs: nothing."""
    dom = lookup(conn, uid)
    try:
        dom.resume()
    except libvirt.libvirtError as err:
        running = dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        if err.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not running:
            raise


def block_resize(conn: libvirt.virConnect, uid: str, *, source: Handle, size_bytes: int) -> None:
    """libvirt would shrink a disk without a word, and the guest would lose its end."""
    dom = lookup(conn, uid)
    disk = target_of(ET.fromstring(dom.XMLDesc(0)), source)  # noqa: S314  libvirtd's own XML
    if not disk:
        raise errors.NotFound(f"Domain {uid} has no disk at {source}.")
    capacity = dom.blockInfo(disk, 0)[0]
    if size_bytes < capacity:
        raise errors.Conflict(
            f"Disk {disk} of domain {uid} has {capacity} bytes; it cannot shrink to {size_bytes}."
        )
    if size_bytes > capacity:
        end_merge(dom, disk)
        dom.blockResize(disk, size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def set_metadata(conn: libvirt.virConnect, uid: str, xml: str) -> None:
    """In the definition, and in the running domain if it runs."""
    dom = lookup(conn, uid)
    where = libvirt.VIR_DOMAIN_AFFECT_CONFIG if dom.isPersistent() else 0
    if dom.isActive():
        where |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    dom.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, METADATA_PREFIX, METADATA_NAMESPACE, where)


def _start(dom: libvirt.virDomain, *, paused: bool) -> None:
    with _unless(dom=dom, active=True):
        dom.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
