"""The embedded registry's process (interface; being filled in)."""

from __future__ import annotations

from hyperd.settings import Settings
from registry.models import RegistryEndpoint


class EmbeddedRegistry:
    """A docker-registry of our own on a unix socket; ``endpoint`` is known before ``start``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def endpoint(self) -> RegistryEndpoint:
        raise NotImplementedError

    @property
    def healthy(self) -> bool:
        raise NotImplementedError

    async def start(self) -> None:
        """Adopt or start the process, and keep it running until ``stop``."""
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError


def external_endpoint(settings: Settings) -> RegistryEndpoint:
    """The registry that ``settings.registry.url`` names."""
    raise NotImplementedError
