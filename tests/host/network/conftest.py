from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from hyperd.network.addresses import mac_for
from hyperd.network.kinds.routed.host import HostNetwork, TapSpec
from hyperd.settings import NetworkSettings
from tests.host.network.lab import Guest, fresh_namespace

pytestmark = pytest.mark.root
ConnectGuest = Callable[[TapSpec], Guest]


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """Every test of this folder has an empty network of its own; the host's is never touched."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with fresh_namespace():
        yield


@pytest.fixture
async def network(namespace: None) -> HostNetwork:
    network = HostNetwork(NetworkSettings(), instance="test")
    await network.start()
    return network


@pytest.fixture
def connect() -> Iterator[ConnectGuest]:
    """Put a guest behind a tap."""
    guests: list[Guest] = []

    def _connect(spec: TapSpec) -> Guest:
        guests.append(Guest(spec.name, mac=mac_for(spec.uid, 0)))
        return guests[-1]

    yield _connect
    for guest in guests:
        guest.close()
