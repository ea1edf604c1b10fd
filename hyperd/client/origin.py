"""Where an image or disk is fetched from: an address on a command line or in a form as a ``dataSource``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_WEB = ("http://", "https://")
_REGISTRIES = ("docker://", "oci://")


def origin(text: str) -> Object | None:
    """The ``dataSource`` of an address on the web or in a registry; None for what is neither."""
    if text.startswith(_WEB):
        return {"type": "HTTP", "http": {"url": text}}
    if text.startswith(_REGISTRIES):
        return {"type": "ContainerImage", "containerImage": {"image": text.partition("://")[2]}}
    return None
