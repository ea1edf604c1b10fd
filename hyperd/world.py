"""What a daemon works on, an implementation of each protocol that controllers know the world by.

The product has one of each. Who starts a daemon may give another, as tests do where no guest is to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from hyperd.errors import PermanentError
from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.interface import Hypervisor
from hyperd.network import place
from hyperd.network.interface import Network
from hyperd.network.kinds import networks
from hyperd.network.networks import NodeNetwork
from hyperd.settings import Settings
from hyperd.storage.backends import backends, claiming
from hyperd.storage.departures import Departures
from hyperd.storage.interface import Volumes
from hyperd.storage.seed import SeedStore
from hyperd.storage.seeds import Seeds
from hyperd.storage.volumes import BackendVolumes
from registry.images import NodeImages
from registry.interface import Images


def _hypervisor(settings: Settings) -> Hypervisor:
    driver = urlsplit(settings.hypervisor.uri).scheme.partition("+")[0]
    if driver != "qemu":
        raise PermanentError(
            f'Setting hypervisor.uri: "{settings.hypervisor.uri}" is not supported: hyperd runs guests by '
            "libvirt's QEMU driver, such as qemu:///system."
        )
    return LibvirtHypervisor(settings.hypervisor, instance=settings.instance)


def _network(settings: Settings) -> Network:
    return NodeNetwork(networks(settings, place.THIS_HOST))


def _volumes(settings: Settings) -> Volumes:
    departures = Departures(settings.departures_dir)
    return BackendVolumes(backends(settings), departures, claiming=claiming(settings))


@dataclass(frozen=True)
class World:
    """Makes each part from the settings; none has begun anything until its ``start``."""

    hypervisor: Callable[[Settings], Hypervisor] = _hypervisor
    network: Callable[[Settings], Network] = _network
    volumes: Callable[[Settings], Volumes] = _volumes
    seeds: Callable[[Settings], Seeds] = SeedStore
    images: Callable[[Settings], Images] = NodeImages


THIS_HOST = World()
