"""What a daemon over the test driver works on; all else is the product's."""

from __future__ import annotations

from typing import Final

from hyperd.settings import Settings
from hyperd.world import World
from tests.testdriver.hypervisor import TestDriver
from tests.testdriver.network import NoNetwork


def _hypervisor(settings: Settings) -> TestDriver:
    return TestDriver(settings.hypervisor, instance=settings.instance)


TEST_DRIVER: Final = World(hypervisor=_hypervisor, network=lambda _: NoNetwork())
