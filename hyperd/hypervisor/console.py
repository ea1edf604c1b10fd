"""Serial consoles: the one connection QEMU gives, shared by all who look.

QEMU serves one client of a serial socket at a time, so the hub holds that connection, keeps the latest output
and hands it to every session. A session that reads slowly loses its oldest output; nothing grows.
"""

from __future__ import annotations

from hyperd.settings import Settings


class ConsoleSession:
    """One look at a console. ``read`` ends with b"" when the guest's QEMU is gone or the hub closes."""

    async def read(self) -> bytes:
        """The next output, as much as there is; b"" at the end."""
        raise NotImplementedError

    async def write(self, data: bytes) -> None:
        """Type ``data``. Waits while the guest does not take input. Raises ConnectionError at the end."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave; the hub keeps the connection for the next session."""
        raise NotImplementedError


class ConsoleHub:
    """Consoles of the domains of one daemon, by uid. Connects at the first ``attach``, until the domain ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def attach(self, uid: str, *, replay: int = 0) -> ConsoleSession:
        """A session, which first reads up to ``replay`` bytes of past output.

        Raises ServiceUnavailable when the domain has no console to connect to.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """End all sessions and connections."""
        raise NotImplementedError
