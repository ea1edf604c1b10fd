"""libvirt's event loop, in the one thread of the process that runs it.

It must be registered before the first connection opens, and it can be registered once. Callbacks run in this
thread and may do no more than hop to an asyncio loop: whoever blocks here stops keepalives and all events.
"""

from __future__ import annotations

import logging
import threading

import libvirt

log = logging.getLogger(__name__)

_lock = threading.Lock()
_started = False


def ensure_running() -> None:
    """Start the thread unless it runs. Any thread may call this."""
    global _started
    with _lock:
        if _started:
            return
        libvirt.registerErrorHandler(_swallow, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run, name="libvirt-events", daemon=True).start()
        _started = True


def _run() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            log.exception("libvirt's event loop failed once; it goes on")


def _swallow(_context: object, _error: object) -> None:
    """Errors come as exceptions; libvirt would print them as well."""
