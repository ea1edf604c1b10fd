"""Where in the registry an object's image is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.resources.schema.kind import Kind
from registry.naming import repository_of

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image


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
