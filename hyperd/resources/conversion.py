"""Objects from one version of their kind to another, by way of the version they are stored in."""

from __future__ import annotations

from hyperd.errors import BadRequest
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Kind, Object


def convert(obj: Object, api_version: str) -> Object:
    """``obj`` as ``api_version`` (``GROUP/VERSION``); ``obj`` itself is left alone.

    An object that is not valid is converted as far as it goes: its schema refuses it afterwards. Raises BadRequest
    for a kind or version that is not served.
    """
    given = str(obj.get("apiVersion", ""))
    if given == api_version:
        return obj
    storage = KINDS.by_kind(given.rpartition("/")[0], str(obj.get("kind", "")))
    if storage is None:
        raise BadRequest(f"cannot convert {given or 'an object without apiVersion'}: there is no such kind")
    if {given, api_version} - set(versions(storage)):
        raise BadRequest(f"cannot convert {storage.kind} from {given} to {api_version}: not a served version")
    out = obj
    for more in KINDS.more_versions(storage):
        if more.kind.api_version == given:
            out = more.to_storage(out)
    for more in KINDS.more_versions(storage):
        if more.kind.api_version == api_version:
            out = more.from_storage(out)
    return {**out, "apiVersion": api_version}


def versions(kind: Kind) -> list[str]:
    """Every ``GROUP/VERSION`` that ``kind`` is served in, the stored one first."""
    return [kind.api_version, *(more.kind.api_version for more in KINDS.more_versions(kind))]
