"""Sessions: console and VNC over WebSockets, one holder at a time, and the console's log.

The wire protocol is the reference's, so that its clients work: one subprotocol, binary frames of raw bytes,
close code 1001 for who was displaced, 1011 when the stream ended and the client is to come again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hyperd.api.subresources import SubresourceHandlers
from hyperd.hypervisor.console import ConsoleHub
from hyperd.hypervisor.vnc import Graphics
from hyperd.resources.kind import Object
from hyperd.settings import Settings
from hyperd.store.interface import Store

RecordEvent = Callable[[Object, str, str, str], Awaitable[None]]
"""``record(vm, type, reason, message)``: type is Normal or Warning."""


class Sessions:
    """Handlers of ``virtualmachines/{console,vnc,log}``. ``node`` names where the sessions live in messages."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        consoles: ConsoleHub,
        graphics: Graphics,
        record: RecordEvent,
    ) -> None:
        self._settings = settings
        self._store = store

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close every session with 1011, so that clients come again once the daemon is back."""
        raise NotImplementedError
