"""Blocking calls by which a guest goes to another node's hypervisor.

libvirtd here speaks with the one there by a unix socket, and so do both QEMUs: who carries those sockets' bytes
from node to node is hyperd. The guest arrives stopped, so that there are never two that run, whatever libvirt
thinks of a connection that broke as it ended: who sees that it is off here lets it go on there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import libvirt

from hyperd import errors
from hyperd.hypervisor.actions.reader import lookup
from hyperd.hypervisor.state import Departure, Transfer
from hyperd.hypervisor.xml.elsewhere import copied_targets, xml_elsewhere

_FLAGS: Final = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_PAUSED
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
)
_MIB: Final = 1 << 20


def send(conn: libvirt.virConnect, uid: str, *, departure: Departure, instance: str) -> None:
    """Returns once the guest is off here, and stopped there. Where it raises, both have to be looked at."""
    dom = lookup(conn, uid)
    if not dom.isActive():
        raise errors.NotFound(f"Domain {uid} does not run any more.")
    live = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
    there = xml_elsewhere(live, departure.sources, departure.domain, instance)
    flags = _FLAGS
    params: dict[str, object] = {
        libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{departure.memory}",
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: there,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: there,
    }
    if departure.bytes_per_second:
        params[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = max(1, departure.bytes_per_second // _MIB)
    if copied := departure.sources.keys() - departure.shared:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
        params[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = f"unix://{departure.disks}"
        params[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = copied_targets(live, copied)
    if departure.shared:
        # libvirt judges by the kind of file system; the claim says that both nodes reach the volume.
        flags |= libvirt.VIR_MIGRATE_UNSAFE
    if departure.slows:
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    dom.migrateToURI3(f"qemu+unix:///system?socket={departure.peer}", params, flags)


def progress(conn: libvirt.virConnect, uid: str) -> Transfer | None:
    """None while nothing is sent."""
    try:
        found = lookup(conn, uid).jobStats(0)
    except libvirt.libvirtError as err:
        # It ends at this moment.
        if err.get_error_code() in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            return None
        raise
    if found.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
        return None
    return Transfer(
        total=found.get("data_total", 0),
        processed=found.get("data_processed", 0),
        remaining=found.get("data_remaining", 0),
        iteration=found.get("memory_iteration", 0),
        seconds=found.get("time_elapsed", 0) / 1000,
        throttle=found.get("auto_converge_throttle", 0),
    )


def abort(conn: libvirt.virConnect, uid: str) -> None:
    """Have the guest stay; nothing to do is fine."""
    with suppress(libvirt.libvirtError):
        lookup(conn, uid).abortJob()
