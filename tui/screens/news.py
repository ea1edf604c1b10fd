"""What the bottom line says: the last sentence for the user, and how operations of the user's own end."""

from __future__ import annotations

import time
from collections.abc import Iterable

from hyperd.client import sanitize
from hyperd.client.operations import OPERATION
from tui.detail import completed
from tui.fleet import Fleet
from tui.shelf import Key

_SAY_SECONDS = 8.0


class News:
    """One sentence at a time."""

    def __init__(self, fleet: Fleet) -> None:
        self.text = ""
        self.error = False
        self._said_at = 0.0
        self._fleet = fleet
        self._awaited: set[Key] = set()

    def say(self, text: str, *, error: bool = False) -> None:
        """This, for some seconds."""
        self.text, self.error, self._said_at = sanitize.line(text), error, time.monotonic()

    def fade(self) -> None:
        """Say nothing any more once it has been there long enough."""
        if self.text and time.monotonic() - self._said_at > _SAY_SECONDS:
            self.text, self.error = "", False

    def await_operation(self, key: Key) -> None:
        """Say how this one ends."""
        self._awaited.add(key)

    def hear(self, changed: Iterable[Key]) -> None:
        """Operations have changed."""
        shelf = self._fleet.shelf(OPERATION.plural)
        for key in self._awaited.intersection(changed):
            op, state = self._fleet.get(OPERATION.plural, key), shelf.state(key)
            if op is None or state is None:
                self._awaited.discard(key)
                continue
            what = f"{op['spec']['type']} of {op['spec']['virtualMachineName']}"
            if state.word in ("Failed", "Superseded"):
                self.say(f"{what}: {completed(op)}", error=True)
                self._awaited.discard(key)
            elif state.word == "Completed":
                self.say(f"{what}: done")
                self._awaited.discard(key)
