"""Every kind of network, a folder each, and the one list that names them."""

from __future__ import annotations

from hyperd.network.interface import NetworkKind
from hyperd.network.kinds.bridged.network import BridgedNetwork
from hyperd.network.kinds.routed.network import RoutedNetwork
from hyperd.network.place import Place
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.settings import Settings

NETWORKS: tuple[type[NetworkKind], ...] = (
    RoutedNetwork,
    BridgedNetwork,
)  # fmt: skip


def networks(settings: Settings, place: Place) -> list[NetworkKind]:
    """One of each, in ``place``."""
    return [kind(settings, place) for kind in NETWORKS]


def served() -> frozenset[NetworkType]:
    """The types in ``spec.networks`` that a machine gets a card for."""
    return frozenset(type_ for kind in NETWORKS for type_ in kind.TYPES)
