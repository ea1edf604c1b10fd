"""Every kind of network: the one list that names them."""

from __future__ import annotations

from hyperd.network.interface import NetworkKind
from hyperd.network.routed.network import RoutedNetwork
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.settings import Settings

KINDS: tuple[type[NetworkKind], ...] = (RoutedNetwork,)


def networks(settings: Settings) -> list[NetworkKind]:
    """One of each."""
    return [kind(settings) for kind in KINDS]


def served() -> frozenset[NetworkType]:
    """The types in ``spec.networks`` that a machine gets a card for."""
    return frozenset(kind.serves for kind in KINDS)
