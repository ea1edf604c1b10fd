"""Where in the registry an object's image is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.resources.schema.kind import Kind
from registry.models import RegistryEndpoint

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image


def repository_of(endpoint: RegistryEndpoint, kind: Kind, namespace: str, name: str) -> str:
    """Where an object's image is kept: ``vi/<namespace>/<name>``, ``cvi/<name>``, ``vd/<namespace>/<name>``.

    Longer than a registry takes, it is shortened.
    """
    short = kind.short_names[0]
    return endpoint.repository(f"{short}/{namespace}/{name}" if kind.namespaced else f"{short}/{name}")


def reference_of(context: Context, kind: Kind, image: Image) -> str:
    """The ``registryURL`` of a Ready image, by what it is and not by what its status says: that may be forged.

    A status that names another registry is told as it is. This one refuses it by that name.
    """
    meta = image["metadata"]
    shown = ((image.get("status") or {}).get("target") or {}).get("registryURL") or ""
    endpoint = context.images.endpoint
    if shown and not endpoint.has(shown):
        return shown
    repository = repository_of(endpoint, kind, meta.get("namespace", ""), meta["name"])
    return endpoint.reference(repository, meta["uid"])
