"""OpenAPI of the connect subresources, in both editions: an API server merges them into its own documents.

It asks for them again and again until it gets both, and calls what lacks them a fault.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import orjson

from hyperd.api.endpoints.connect import METHODS
from hyperd.api.wire.subresources import CLUSTER_SCOPED, DECLARED, GROUP, VERSION
from hyperd.resources.schema.kind import Object

PREFIX: Final = f"apis/{GROUP}/{VERSION}"
_INFO: Final = {"title": "hyperd", "version": VERSION}
_ANSWERS: Final = {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}}
_SESSIONS: Final = frozenset({"console", "vnc"})


def document(path: str) -> bytes | None:
    """What is at ``path``: ``/openapi/v2``, ``/openapi/v3`` or the one document that the latter lists."""
    return _documents().get(path)


@cache
def _documents() -> dict[str, bytes]:
    whole = orjson.dumps({"openapi": "3.0.0", "info": _INFO, "paths": _paths(3)})
    place = f"/openapi/v3/{PREFIX}"
    digest = hashlib.sha256(whole).hexdigest()[:32].upper()
    return {
        "/openapi/v2": orjson.dumps({"swagger": "2.0", "info": _INFO, "paths": _paths(2)}),
        "/openapi/v3": orjson.dumps({"paths": {PREFIX: {"serverRelativeURL": f"{place}?hash={digest}"}}}),
        place: whole,
    }


def _paths(edition: int) -> Object:
    paths: Object = {}
    for (plural, subresource), verbs in DECLARED.items():
        names = ("name",) if plural in CLUSTER_SCOPED else ("namespace", "name")
        where = "" if plural in CLUSTER_SCOPED else "/namespaces/{namespace}"
        item: Object = {"parameters": [_parameter(name, edition) for name in names]}
        for verb in verbs:
            item[METHODS[verb].lower()] = {
                "operationId": f"{verb}Subresources{plural.capitalize()}{subresource.capitalize()}",
                "description": _description(plural, subresource),
                "responses": _ANSWERS,
            }
        paths[f"/{PREFIX}{where}/{plural}/{{name}}/{subresource}"] = item
    return paths


def _description(plural: str, subresource: str) -> str:
    if subresource == "portforward":
        return f"Open a port of {plural} as a WebSocket: port is its number, protocol tcp or udp."
    if subresource == "upload":
        return f"Send the content of {plural} as binary messages of a WebSocket, the last one empty."
    if subresource == "export":
        return (
            f"Read the content of {plural} as one file: format is raw or qcow2, in parts by Range and If-Range; "
            "with checksum=sha256 its checksum instead, with address=true a URL that is good for reading it once."
        )
    if subresource == "scaledownwith":
        return (
            "Remove machines of a pool by name, and lower its number by as many: the body is "
            '{"targets": ["NAME", ...], "dryRun": ["All"]}, the latter to judge only.'
        )
    if subresource in _SESSIONS:
        return f"Open {subresource} of {plural} as a WebSocket; probe=true tells who holds it instead."
    return f"Use {subresource} of {plural}."


def _parameter(name: str, edition: int) -> Object:
    shape = {"type": "string"} if edition == 2 else {"schema": {"type": "string"}}
    return {"name": name, "in": "path", "required": True, **shape}
