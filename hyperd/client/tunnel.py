"""Connections of the TUI to a home behind ``ssh://``: ssh is started when the first of them is needed.

A home that ssh does not reach is not tried by every watch of it: what went wrong is told again until it is time.
"""

from __future__ import annotations

import asyncio
import time
from errno import ECONNREFUSED, ENOENT
from typing import Any

import aiohttp

from hyperd.client import ssh
from hyperd.client.home import Home
from hyperd.errors import HyperdError

_AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""The last one for good: a server counts refused logins."""
_PATIENCE_SECONDS = 1.0
"""With another program's login: it is tried again anyhow, and who leaves would wait for the thread."""


class Tunnelled(aiohttp.UnixConnector):
    """Connects to what ssh has brought here, and has it brought where it is not there (any more)."""

    def __init__(self, home: Home) -> None:
        super().__init__(home.socket, limit=0)
        self._home = home
        self._reaching: asyncio.Task[None] | None = None
        self._failures = 0
        self._error: HyperdError | None = None
        self._next = 0.0
        ssh.ask_nobody()

    async def connect(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:
        """As aiohttp does. Raises what ``ssh.reach`` and ``ssh.trust`` do."""
        await asyncio.to_thread(ssh.own, self._home)
        try:
            return await self._trusted(req, traces, timeout)
        except aiohttp.ClientConnectorError as err:
            if err.errno not in (ENOENT, ECONNREFUSED):
                raise
        if self._error is not None and time.monotonic() < self._next:
            raise self._error
        if self._reaching is None or self._reaching.done():
            self._reaching = asyncio.create_task(self._reach())
            self._reaching.add_done_callback(_heard)
        # Whoever waits no longer ends nothing for the others.
        await asyncio.shield(self._reaching)
        return await self._trusted(req, traces, timeout)

    async def _trusted(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:
        connection = await super().connect(req, traces, timeout)
        try:
            # One that was lost meanwhile has no transport; nothing is sent by it.
            if (transport := connection.transport) is not None:
                ssh.trust(self._home, transport.get_extra_info("socket"))
        except (HyperdError, OSError):
            connection.close()
            raise
        return connection

    async def _reach(self) -> None:
        try:
            await asyncio.to_thread(ssh.reach, self._home, ask=False, patience=_PATIENCE_SECONDS)
        except HyperdError as err:
            self._error = err
            self._next = time.monotonic() + _AGAIN_SECONDS[min(self._failures, len(_AGAIN_SECONDS) - 1)]
            self._failures += 1
            raise
        self._error, self._failures = None, 0

    def again(self) -> None:
        """Do not wait any longer before it is tried again."""
        self._next = 0.0


def _heard(task: asyncio.Task[None]) -> None:
    """Nobody may be left who waits for it."""
    if not task.cancelled():
        task.exception()
