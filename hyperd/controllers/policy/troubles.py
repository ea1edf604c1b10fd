"""Machines whose NetworkPolicies do not hold, once that has lasted: what their conditions say of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from hyperd import clock
from hyperd.resources.values.meta import Key

_LASTING_SECONDS: Final = 10.0
"""A start takes less."""
UNREAD: Final = "NetworkPolicies cannot be read yet, and what they say does not hold for the virtual machine."
_UNKNOWN: Final = (
    "NetworkPolicies of the virtual machine do not hold: what they speak of is not read or worked out yet."
)


class Troubles:
    """``changed`` is called with each machine of which something else is to be said."""

    def __init__(self) -> None:
        self.changed: Callable[[Key], None] = lambda _: None
        self._since: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        """What the network said last, by the machine's uid."""

    def failed(self, uid: str, message: str) -> None:
        """The network could not have them hold."""
        self._failed[uid] = message

    def held(self, uid: str) -> None:
        """It could."""
        self._failed.pop(uid, None)

    def of(self, uid: str) -> str:
        """A sentence; empty for none."""
        return self._said.get(uid, "")

    def look(self, here: Mapping[str, Key], holding: Collection[str], *, unread: bool = False) -> None:
        """By the machines that are ``here``, and those whose policies hold. ``unread`` are all policies."""
        now = clock.elapsed()
        self._since = {uid: self._since.get(uid, now) for uid in here if uid not in holding}
        self._failed = {uid: message for uid, message in self._failed.items() if uid in here}
        said = {
            uid: UNREAD if unread else self._told(uid)
            for uid, since in self._since.items()
            if now - since >= _LASTING_SECONDS
        }
        other = {uid for uid in said.keys() | self._said.keys() if said.get(uid) != self._said.get(uid)}
        self._said = said
        for uid in other & here.keys():
            self.changed(here[uid])

    def _told(self, uid: str) -> str:
        if (message := self._failed.get(uid)) is None:
            return _UNKNOWN
        return f"The NetworkPolicies of the virtual machine do not hold: {message}"
