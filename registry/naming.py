"""What objects' repositories are called, and which object a repository is of."""

from __future__ import annotations

import re
from typing import Final

from hyperd.resources.schema.kind import Kind
from registry.models import RegistryEndpoint

_COMPONENT = r"[a-z0-9]++(?:(?:\.|__?|-+)[a-z0-9]++)*+"
REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*+")
"""Of the distribution's grammar: nothing that leads up or elsewhere."""


def repository_of(endpoint: RegistryEndpoint, kind: Kind, namespace: str, name: str) -> str:
    """Where an object's image is kept: ``vi/<namespace>/<name>``, ``cvi/<name>``, ``vd/<namespace>/<name>``.

    Longer than a registry takes, it is shortened.
    """
    short = kind.short_names[0]
    return endpoint.repository(f"{short}/{namespace}/{name}" if kind.namespaced else f"{short}/{name}")


def owner_of(kind: Kind, repository: str) -> tuple[str, str] | None:
    """Namespace and name in a repository of ``kind``; None for one of another kind.

    A name that was shortened is none of an object.
    """
    parts = repository.split("/")
    if parts[0] != kind.short_names[0] or len(parts) != (3 if kind.namespaced else 2):
        return None
    return (parts[1] if kind.namespaced else ""), parts[-1]
