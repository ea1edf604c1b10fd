"""libvirt's callbacks as ``DomainEvent``.

Everything here runs in libvirt's event thread, so it only reads what the callback brought; a domain is ours by
its name, which is read without asking libvirtd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt

from hyperd.hypervisor.spec import domain_name
from hyperd.hypervisor.state import DomainEvent, EventKind

Sink = Callable[[DomainEvent], None]

_LIFECYCLE = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: EventKind.DEFINED,
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: EventKind.UNDEFINED,
    libvirt.VIR_DOMAIN_EVENT_STARTED: EventKind.STARTED,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: EventKind.SUSPENDED,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: EventKind.RESUMED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: EventKind.STOPPED,
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: EventKind.SHUTDOWN,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: EventKind.SUSPENDED,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: EventKind.CRASHED,
}
_DETAIL_PREFIX = {
    EventKind.DEFINED: "VIR_DOMAIN_EVENT_DEFINED_",
    EventKind.UNDEFINED: "VIR_DOMAIN_EVENT_UNDEFINED_",
    EventKind.STARTED: "VIR_DOMAIN_EVENT_STARTED_",
    EventKind.SUSPENDED: "VIR_DOMAIN_EVENT_SUSPENDED_",
    EventKind.RESUMED: "VIR_DOMAIN_EVENT_RESUMED_",
    EventKind.STOPPED: "VIR_DOMAIN_EVENT_STOPPED_",
    EventKind.CRASHED: "VIR_DOMAIN_EVENT_CRASHED_",
}


def names(prefix: str) -> dict[int, str]:
    """libvirt's constants that begin with ``prefix``, as number → our spelling (``from-snapshot``)."""
    return {
        value: name.removeprefix(prefix).lower().replace("_", "-")
        for name, value in vars(libvirt).items()
        if name.startswith(prefix) and not name.endswith("_LAST")
    }


_DETAILS = {kind: names(prefix) for kind, prefix in _DETAIL_PREFIX.items()}
_DETAILS[EventKind.SHUTDOWN] = {
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED: "",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST: "guest",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST: "host",
}


class EventSource:
    """Registers for the events of one instance's domains on a connection and hands them to ``sink``."""

    def __init__(self, instance: str, sink: Sink) -> None:
        self._instance = instance
        self._sink = sink

    def register(self, conn: libvirt.virConnect) -> None:
        """Blocking; once for each connection."""
        callbacks: dict[int, Callable[..., None]] = {
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: self._lifecycle,
            libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: self._reboot,
            libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: self._io_error,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: self._device_added,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: self._device_removed,
            libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: self._agent,
        }
        for event, callback in callbacks.items():
            conn.domainEventRegisterAny(None, event, callback, None)

    def _emit(self, dom: libvirt.virDomain, kind: EventKind, *, reason: str = "", device: str = "") -> None:
        uid = dom.UUIDString()
        if dom.name() == domain_name(self._instance, uid):
            self._sink(DomainEvent(uid=uid, kind=kind, reason=reason, device=device))

    def _lifecycle(self, _conn: Any, dom: libvirt.virDomain, event: int, detail: int, _opaque: Any) -> None:
        if (kind := _LIFECYCLE.get(event)) is not None:
            self._emit(dom, kind, reason=_DETAILS[kind].get(detail, ""))

    def _reboot(self, _conn: Any, dom: libvirt.virDomain, _opaque: Any) -> None:
        self._emit(dom, EventKind.REBOOTED)

    def _io_error(
        self, _conn: Any, dom: libvirt.virDomain, _path: str, alias: str, _action: int, reason: str, _opaque: Any
    ) -> None:
        self._emit(dom, EventKind.IO_ERROR, reason=reason or "other", device=alias)

    def _device_added(self, _conn: Any, dom: libvirt.virDomain, alias: str, _opaque: Any) -> None:
        self._emit(dom, EventKind.DEVICE_ADDED, device=alias)

    def _device_removed(self, _conn: Any, dom: libvirt.virDomain, alias: str, _opaque: Any) -> None:
        self._emit(dom, EventKind.DEVICE_REMOVED, device=alias)

    def _agent(self, _conn: Any, dom: libvirt.virDomain, state: int, _reason: int, _opaque: Any) -> None:
        connected = state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
        self._emit(dom, EventKind.AGENT, reason="connected" if connected else "disconnected")
