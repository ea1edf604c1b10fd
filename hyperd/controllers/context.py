"""What controllers share: the store, the informers and the world, wired once by the daemon.

The world is known by protocols alone, each in the ``interface`` of its room, so that a controller cannot tell by
what it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from hyperd.controllers.ownership import Ownership
from hyperd.controllers.reservations import Reservations
from hyperd.controllers.witness import Witness
from hyperd.hypervisor.interface import Hypervisor
from hyperd.network.interface import Network
from hyperd.resources.schema.kind import Kind, V
from hyperd.runtime.informer import Informer
from hyperd.runtime.recorder import EventRecorder
from hyperd.settings import Settings
from hyperd.storage.interface import Volumes
from hyperd.storage.seeds import Seeds
from hyperd.store.interface import Store
from registry.interface import Images


class Informers(Protocol):
    """Gives the informer of a kind, whose objects are of the kind's view."""

    def __call__(self, kind: Kind[V], /) -> Informer[V]: ...


@dataclass(frozen=True)
class Context:
    """The composition root's gift to each controller; nothing here is looked up elsewhere."""

    settings: Settings
    node_name: str
    store: Store
    store_id: Callable[[], str]
    """Made once for the store; marks what on the host belongs to its objects."""
    witness: Witness
    ownership: Ownership
    informer: Informers
    events: EventRecorder
    hypervisor: Hypervisor
    network: Network
    volumes: Volumes
    seeds: Seeds
    images: Images
    reservations: Reservations = field(default_factory=Reservations)
    coming: set[str] = field(default_factory=set)
    """The uids of disks whose guests are on their way here from another node."""
