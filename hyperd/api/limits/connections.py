"""How many may connect: shares of this process's file descriptors.

Before a login a connection counts for its address (/32, /56), over the unix socket for its uid, and after a login
for its user. What strangers may have is small, and who comes last stays: a flood from one address, or from many,
ends its own oldest connections first. A part of all descriptors is the unix socket's, and one is for the daemon's
own files: libvirt, the store, children, guests' consoles.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from hyperd.api.wire.metrics import Sample
from hyperd.shares import Grant, Shares

_LOG = logging.getLogger(__name__)
_MOST_STRANGERS: Final = 256
_MOST_KNOWN: Final = 8192
_MOST_LOCAL: Final = 1024
_OWN_FILES: Final = 96
_SMALLEST: Final = 4
_ENOUGH: Final = 1 << 20


@dataclass(frozen=True)
class Budget:
    """Descriptors for each kind of connection."""

    strangers: int
    known: int
    local: int

    @classmethod
    def of(cls, descriptors: int) -> Budget:
        """Shares of so many; at least half is left for the daemon's own files where there are few."""
        own = max(min(_OWN_FILES, descriptors // 2), descriptors // 4)
        left = descriptors - own
        strangers = max(_SMALLEST, min(_MOST_STRANGERS, left // 4))
        local = max(_SMALLEST, min(_MOST_LOCAL, left // 4))
        return cls(strangers, max(_SMALLEST, min(_MOST_KNOWN, left - strangers - local)), local)


def raise_limit() -> int:
    """Let this process open as many files as it may. Returns how many; a child inherits that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as err:
            _LOG.warning("The limit of open files stays at %d: %s", soft, err)
    return descriptors()


def descriptors() -> int:
    """Files that this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


def network_of(address: str) -> str:
    """The key of a stranger: an IPv4 address, the /56 of an IPv6 one, which is what a household gets.

    What is no address is its own key.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = found.ipv4_mapped if found.version == 6 else None
    if mapped is not None:
        return str(mapped)
    if found.version == 4:
        return str(found)
    return f"{ip_address(int(found) >> 72 << 72)}/56"


class ConnectionLimits:
    """Connections of all listeners of one server."""

    def __init__(self, budget: Budget | None = None) -> None:
        budget = budget or Budget.of(descriptors())
        self.strangers: Shares[str] = Shares(
            "connections", budget.strangers, most=max(1, budget.strangers // 2), churn=True
        )
        self.known: Shares[str] = Shares(
            "connections",
            budget.known,
            floor=2,
            headroom=budget.known // 8,
            reserve=budget.known // 16,
            most=max(2, budget.known // 2),
        )
        self.local: Shares[int] = Shares(
            "connections",
            budget.local,
            floor=2,
            headroom=budget.local // 4,
            reserve=max(2, budget.local // 4),
        )

    def stranger(self, address: str, lose: Callable[[], None]) -> Grant[str] | None:
        """A new connection from ``address``; ``lose`` aborts it."""
        return self.strangers.try_acquire(network_of(address), lose=lose)

    def neighbour(self, uid: int, *, privileged: bool) -> Grant[int] | None:
        """A new connection over the unix socket."""
        return self.local.try_acquire(uid, privileged=privileged)

    def login(self, user: str, lose: Callable[[], None], *, privileged: bool) -> Grant[str]:
        """A stranger is ``user``. Raises TooManyRequests where that one has its share of connections."""
        grant = self.known.try_acquire(user, privileged=privileged, lose=lose)
        if grant is None:
            raise self.known.refusal(user)
        return grant

    def samples(self) -> Iterator[Sample]:
        """For ``/metrics``."""
        kinds: tuple[tuple[str, Shares[str] | Shares[int]], ...] = (
            ("strangers", self.strangers),
            ("users", self.known),
            ("local", self.local),
        )
        for name, shares in kinds:
            labels = (("of", name),)
            yield Sample("hyperd_api_connections", shares.lent, labels, help="Connections that are open.")
            yield Sample(
                "hyperd_api_connections_refused_total",
                shares.refused + shares.taken_back,
                labels,
                "counter",
                "Connections closed because their share was used up.",
            )
