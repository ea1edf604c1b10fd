"""What the bottom line says, and how operations of the user's own end."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable

from hyperd.client import sanitize
from hyperd.client.operations import OPERATION
from hyperd.errors import Conflict
from tui.detail import completed
from tui.fleet import Fleet
from tui.shelf import Key

_SAY_SECONDS = 8.0
_MOST_KEPT = 500


class News:
    """One sentence at a time."""

    def __init__(self, fleet: Fleet) -> None:
        self.text = ""
        self.error = False
        self._said_at = 0.0
        self._fleet = fleet
        self.log: deque[tuple[float, str, bool]] = deque(maxlen=_MOST_KEPT)
        """What was said: when, by the wall clock, what, and whether something went wrong."""
        self._awaited: dict[Key, asyncio.Future[str]] = {}

    def say(self, text: str, *, error: bool = False) -> None:
        """This, for some seconds."""
        self.text, self.error, self._said_at = sanitize.line(text), error, time.monotonic()
        self.log.append((time.time(), self.text, error))

    def fade(self) -> None:
        """Say nothing any more once it has been there long enough."""
        if self.text and time.monotonic() - self._said_at > _SAY_SECONDS:
            self.text, self.error = "", False

    async def operation_end(self, key: Key) -> str:
        """Wait for the end of an operation. Raises Conflict with its reason where it failed."""
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._awaited[key] = end
        try:
            if self._fleet.get(OPERATION.plural, key) is not None:
                self.hear([key])  # it may have ended already
            return await end
        finally:
            self._awaited.pop(key, None)

    def hear(self, changed: Iterable[Key]) -> None:
        """Operations have changed."""
        shelf = self._fleet.shelf(OPERATION.plural)
        for key in changed:
            end, state = self._awaited.get(key), shelf.state(key)
            op = self._fleet.get(OPERATION.plural, key)
            if end is None or end.done():
                continue
            if op is None or state is None:
                end.set_result(f"{key.name} is gone, nobody knows how it ended")
                continue
            spec = op.get("spec")
            named = spec if isinstance(spec, dict) else {}
            what = f"{named.get('type') or 'operation'} of {named.get('virtualMachineName') or key.name}"
            if state.word in ("Failed", "Superseded"):
                end.set_exception(Conflict(f"{what}: {completed(op)}"))
            elif state.word == "Completed":
                end.set_result(f"{what}: done")
