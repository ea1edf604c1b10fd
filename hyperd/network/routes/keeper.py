"""Keeps the ways to machines on other nodes, in a thread of its own, which wakes when something changes them.

The kernel answers at once, but its lock on the network may be held by others, and ten thousand routes take longer
than an event loop may be kept. What is made stays when the daemon ends: the next one finds it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from hyperd.errors import HyperdError
from hyperd.network.place import Place
from hyperd.network.routes.channel import Channel
from hyperd.network.routes.table import Ranges, Ways, WayTable

_log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 60.0
"""Between looks at everything, whatever was heard."""
_SETTLING_SECONDS: Final = 0.2
"""Between a change of devices and the look that follows: they come in crowds."""
_AGAIN_SECONDS: Final = 5.0
_END_SECONDS: Final = 5.0


class WayKeeper:
    """Begins with the first ``want``."""

    def __init__(
        self, place: Place, *, table: int, protocol: int, ranges: Ranges, mend_ranges: Callable[[], None]
    ) -> None:
        """``mend_ranges`` has rules and blackholes be there; it is called in the thread."""
        self._place = place
        self._table, self._protocol, self._ranges = table, protocol, ranges
        self._mend_ranges = mend_ranges
        self._wanted: Ways = {}
        self._ended = False
        self._thread: threading.Thread | None = None
        self._wake = -1

    def want(self, ways: Ways) -> None:
        """Have these be the ways, and no others; ``ways`` is changed no more."""
        if self._ended:
            return
        self._wanted = ways
        if self._thread is None:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._thread = threading.Thread(target=self._run, name="ways to other nodes", daemon=True)
            self._thread.start()
        os.eventfd_write(self._wake, 1)

    async def close(self) -> None:
        """Keep them no more; they stay. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ended = True
        os.eventfd_write(self._wake, 1)
        await asyncio.to_thread(thread.join, _END_SECONDS)
        if not thread.is_alive():
            os.close(self._wake)

    def _run(self) -> None:
        told = ""
        while not self._ended:
            try:
                self._place.enter()
                with Channel() as channel:
                    self._keep(channel)
            except (OSError, HyperdError) as error:
                if told != str(error):
                    told = str(error)
                    _log.warning("Ways to machines on other nodes cannot be kept, trying again: %s", error)
            except Exception:  # noqa: BLE001  border of a thread: what is kept must not be left alone in silence
                _log.exception("What keeps the ways to machines on other nodes failed; it begins anew")
            if not self._ended:
                resting = select.poll()
                resting.register(self._wake, select.POLLIN)
                resting.poll(_AGAIN_SECONDS * 1000)

    def _keep(self, channel: Channel) -> None:
        """Until it is ended."""
        ways = WayTable(channel, table=self._table, protocol=self._protocol, ranges=self._ranges)
        poll = select.poll()
        poll.register(channel.hearing, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        followed: Ways | None = None
        due = 0.0
        while not self._ended:
            wanted, now = self._wanted, time.monotonic()
            if followed is None or due <= now:
                self._mend_ranges()
                ways.look(wanted)
                due = time.monotonic() + _LOOK_SECONDS
            elif wanted is not followed:
                ways.follow(wanted)
            followed = wanted
            if ways.unsure:
                due = min(due, time.monotonic() + _AGAIN_SECONDS)
            poll.poll(max(0.0, due - time.monotonic()) * 1000)
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            heard = channel.heard()
            if heard is None:
                due = 0.0
                continue
            look, shared = ways.hear(heard)
            if shared:
                self._mend_ranges()
            if look:
                due = min(due, time.monotonic() + _SETTLING_SECONDS)
