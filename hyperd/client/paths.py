"""URL paths of the API's grammar."""

from __future__ import annotations

SUBRESOURCES = "/apis/subresources.virtualization.deckhouse.io/v1alpha2"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperd.client.resource import Resource


def segment(value: str) -> str:
    """``value`` as one path segment; a name cannot walk up the path."""
    if value.isascii() and value.replace("-", "").replace(".", "").isalnum() and value.strip("."):
        return value
    from urllib.parse import quote

    # What the locale could not decode of an argument goes on as the bytes that it was.
    quoted = quote(value, safe="", errors="surrogateescape")
    return quoted if value.strip(".") else quoted.replace(".", "%2E")


def query(values: Mapping[str, str]) -> str:
    """``?a=b`` of the values that are not empty."""
    kept = {key: value for key, value in values.items() if value}
    if not kept:
        return ""
    from urllib.parse import urlencode

    return "?" + urlencode(kept, errors="surrogateescape")


def collection(resource: Resource, namespace: str | None) -> str:
    """The path of a list: of one namespace, of all (None), or of a cluster-wide kind."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    scope = f"/namespaces/{segment(namespace)}" if resource.namespaced and namespace else ""
    return f"{root}{scope}/{resource.plural}"


def single(resource: Resource, namespace: str | None, name: str) -> str:
    """The path of one object."""
    return f"{collection(resource, namespace)}/{segment(name)}"


def subresource(namespace: str, name: str, verb: str) -> str:
    """The path of a connect subresource of a virtual machine."""
    return f"{SUBRESOURCES}/namespaces/{segment(namespace)}/virtualmachines/{segment(name)}/{verb}"
