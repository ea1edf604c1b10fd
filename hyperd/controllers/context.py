"""What controllers share: the store, the informers and the world, wired once by the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hyperd.controllers.ownership import Ownership
from hyperd.controllers.witness import Witness
from hyperd.hypervisor.console.hub import ConsoleHub
from hyperd.hypervisor.hypervisor import Hypervisor
from hyperd.network.dhcp.server import DhcpServer
from hyperd.network.routed.host import HostNetwork
from hyperd.resources.schema.kind import Kind, V
from hyperd.runtime.informer import Informer
from hyperd.runtime.recorder import EventRecorder
from hyperd.settings import Settings
from hyperd.storage.interface import Volumes
from hyperd.storage.seed import SeedStore
from hyperd.store.interface import Store
from registry.cache import ImageCache
from registry.client import RegistryClient
from registry.importer import Importer


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
    network: HostNetwork
    dhcp: DhcpServer
    consoles: ConsoleHub
    volumes: Volumes
    seeds: SeedStore
    registry: RegistryClient
    importer: Importer
    cache: ImageCache
