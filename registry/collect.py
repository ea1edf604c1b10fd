"""Garbage collection of the registry (interface; being filled in)."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from registry.client import RegistryClient
from registry.server import EmbeddedRegistry


@dataclass(frozen=True)
class Collected:
    """What one collection removed."""

    manifests: int
    repositories: int


async def garbage_collect(
    client: RegistryClient, server: EmbeddedRegistry | None, live: Set[tuple[str, str]]
) -> Collected:
    """Remove every image whose (repository, tag) is not in ``live``; ``server`` None for an external registry.

    Raises TemporaryError (key ProvisioningPostponed) while an import runs.
    """
    raise NotImplementedError
