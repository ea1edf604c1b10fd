"""What one object refers to, and what happened to it, asked of its home."""

from __future__ import annotations

from hyperd.client.kinds import built_in
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import Forbidden, HyperdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.hopeless import Find
    from hyperd.resources.schema.kind import Object

_UNKNOWN: Object = {"kind": "Unknown", "metadata": {}}


def finder(client: Client) -> Find:
    """How ``hopeless`` and ``why`` look up what an object needs; what may not be read counts as well."""
    resources = {resource.kind: resource for resource in built_in()}

    def find(kind: str, namespace: str, name: str) -> Object | None:
        resource = resources.get(kind)
        try:
            return client.find(resource, namespace or None, name) if resource is not None else _UNKNOWN
        except Forbidden:
            return _UNKNOWN

    return find


def events_of(client: Client, obj: Object) -> list[Object]:
    """The object's events, oldest first; none where events cannot be read."""
    events = Resource(group="", version="v1", kind="Event", plural="events", singular="event", namespaced=True)
    metadata = obj["metadata"]
    fields = f"involvedObject.name={metadata['name']}"
    if metadata.get("uid"):
        fields += f",involvedObject.uid={metadata['uid']}"
    try:
        found: list[Object] = client.list(events, metadata.get("namespace"), fields=fields)["items"]
    except HyperdError:
        return []
    return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
