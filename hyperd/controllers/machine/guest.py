"""What guests' agents tell of their systems, asked beside the queue: a guest may let its agent hang."""

from __future__ import annotations

from collections.abc import Callable

from hyperd import clock
from hyperd.controllers.jobs import Jobs
from hyperd.errors import HyperdError
from hyperd.hypervisor.interface import Hypervisor
from hyperd.hypervisor.state import DomainInfo, GuestInfo

RETRY_SECONDS = 15.0
"""How soon an agent that did not answer is asked again."""


class Guests:
    """Asks each agent once for each time that it connects."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._jobs: Jobs[GuestInfo] = Jobs()
        self._known: dict[str, GuestInfo] = {}
        self._silent: dict[str, float] = {}

    def info(self, domain: DomainInfo, wake: Callable[[], None]) -> GuestInfo | None:
        """What is known by now; ``wake`` is called when there is more."""
        uid = domain.uid
        if not domain.agent_connected:
            self.forget(uid)
            return None
        known = self._known.get(uid)
        if known is not None or clock.elapsed() < self._silent.get(uid, 0.0):
            return known
        job = self._jobs.get(uid)
        if job is None:
            self._jobs.start(uid, 0, lambda _: self._hypervisor.guest_agent_info(uid), notify=wake)
            return None
        if not job.done:
            return None
        self._jobs.forget(uid)
        try:
            self._known[uid] = job.outcome()
        except HyperdError:
            self._silent[uid] = clock.elapsed() + RETRY_SECONDS
        return self._known.get(uid)

    def forget(self, uid: str) -> None:
        """The agent is gone, and what it said with it."""
        self._known.pop(uid, None)
        self._silent.pop(uid, None)
        self._jobs.forget(uid)

    async def close(self) -> None:
        """Stop asking."""
        await self._jobs.close()
