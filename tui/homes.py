"""How each home of the fleet is doing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

from hyperd.client.home import Home


class HomeStatus(StrEnum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    STALE = "stale"
    ERROR = "error"


@dataclass
class HomeState:
    """How one home is doing; ``since`` is monotonic time of the last change of ``status``."""

    home: Home
    status: HomeStatus = HomeStatus.CONNECTING
    since: float = field(default_factory=time.monotonic)
    message: str = ""
    too_many: set[str] = field(default_factory=set)
    """Kinds of which it has more than is kept; none of them are shown."""
    held: int = 0
    """What its objects weigh."""
    version: str = ""
    """Of its server; empty where it has not said."""
    answered_in: float | None = None
    """How long it took to answer the last question, in seconds; None where it does not answer."""

    @property
    def trouble(self) -> str:
        """Why not all of it is here, or current; empty where it is."""
        if self.message and self.status in (HomeStatus.ERROR, HomeStatus.STALE):
            return self.message
        kinds = " and ".join(sorted(self.too_many))
        return f"{self.home.where} has more {kinds} than hv keeps; none are shown." if kinds else ""

    @property
    def stale(self) -> bool:
        return self.status is not HomeStatus.CONNECTED
