"""Blocking changes of a running domain's devices, run in worker threads.

They concern the running QEMU alone: what a machine is started with is said anew with each start.
"""

from __future__ import annotations

import time
from typing import Final
from xml.etree import ElementTree as ET

import libvirt

from hyperd.hypervisor.actions.blocks import end_merge
from hyperd.hypervisor.actions.reader import lookup
from hyperd.hypervisor.slots import Slot
from hyperd.hypervisor.spec import DiskSpec
from hyperd.hypervisor.xml.element import attribute
from hyperd.hypervisor.xml.plugging import devices_to_plug, disk_element

_RELEASE_SECONDS: Final = 2.0
"""libvirt waits five for the guest itself; a guest that is asked again releases at once or not soon."""
_LOOK_SECONDS: Final = 0.05


def attach_disk(conn: libvirt.virConnect, uid: str, *, disk: DiskSpec, had: Slot) -> None:
    """Plug a disk in; one that is there stays."""
    dom = lookup(conn, uid)
    for device in devices_to_plug(_running(dom), disk, had):
        xml = ET.tostring(device.to_xml(), encoding="unicode")
        dom.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def detach_disk(conn: libvirt.virConnect, uid: str, *, serial: str) -> bool:
    """Unplug a disk; whether it is gone by now, which may take the guest's consent."""
    dom = lookup(conn, uid)
    element = disk_element(_running(dom), serial)
    if element is None:
        return True
    end_merge(dom, attribute(element, "target", "dev"))
    try:
        dom.detachDeviceFlags(ET.tostring(element, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError:
        # It is being unplugged already, or went just now.
        if disk_element(_running(dom), serial) is None:
            return True
        raise
    until = time.monotonic() + _RELEASE_SECONDS
    while disk_element(_running(dom), serial) is not None:
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _running(dom: libvirt.virDomain) -> ET.Element:
    return ET.fromstring(dom.XMLDesc(0))  # noqa: S314  libvirtd's own XML
