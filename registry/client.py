"""Talks to an OCI registry (interface; being filled in)."""

from __future__ import annotations

from hyperd.settings import Settings
from registry.models import RegistryEndpoint


class RegistryClient:
    """Blobs, manifests, tags. Raises ServiceUnavailable while the registry is down, NotFound, TemporaryError."""

    def __init__(self, endpoint: RegistryEndpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.settings = settings

    async def close(self) -> None:
        raise NotImplementedError

    async def ping(self) -> None:
        """Return if the registry answers; ServiceUnavailable else."""
        raise NotImplementedError

    async def exists(self, reference: str) -> bool:
        """Whether the manifest of a ``registryURL`` is there; ServiceUnavailable when nobody can tell."""
        raise NotImplementedError

    async def tags(self, repository: str) -> list[str]:
        raise NotImplementedError

    async def catalog(self) -> list[str]:
        """All repositories, without the endpoint's prefix."""
        raise NotImplementedError
