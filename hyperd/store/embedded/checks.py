"""What must be true of a request before it may change an object: names, versions, subresources, preconditions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from hyperd.errors import BadRequest, Cause, Invalid
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.metadata import quoted
from hyperd.store.embedded.memory import not_found
from hyperd.store.embedded.pipeline import precondition_failed
from hyperd.store.interface import Preconditions
from hyperd.store.records import Stored

_SHOWN_CHARS = 1000


def is_current(kind: Kind, old: Stored, meta: Object) -> None:
    """Raise Conflict when ``meta`` is of another object or of another version than ``old``."""
    if (meta.get("uid") or old.uid) != old.uid:
        text = f"Precondition failed: UID in precondition: {str(meta['uid'])[:64]}, UID in object meta: {old.uid}"
        raise precondition_failed(kind, old.name, text)
    if (meta.get("resourceVersion") or old.resource_version) != old.resource_version:
        text = "the object has been modified; please apply your changes to the latest version and try again"
        raise precondition_failed(kind, old.name, text)


@contextmanager
def blaming_the_patch(patched: Object) -> Iterator[None]:
    """Not the request is malformed, but what the patch would make of the object: BadRequest becomes Invalid."""
    try:
        yield
    except BadRequest as err:
        shown = orjson.dumps(patched).decode()[:_SHOWN_CHARS]
        text = f"Invalid value: {quoted(shown)}: {err.message}"
        raise Invalid(f' "" is invalid: patch: {text}', causes=[Cause("patch", text)]) from err


def has_subresource(kind: Kind, name: str, subresource: str) -> None:
    """Raise NotFound for a subresource that ``kind`` does not have."""
    if subresource not in ("", *kind.subresources):
        raise not_found(kind, name)


def has_name(meta: Object, name: str) -> None:
    """Raise BadRequest unless the object has the name of the request."""
    if not meta.get("name"):
        raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if meta["name"] != name:
        raise BadRequest(
            f"the name of the object ({str(meta['name'])[:253]}) does not match the name on the URL ({name})"
        )


def meets(kind: Kind, old: Stored, wanted: Preconditions) -> None:
    """Raise Conflict unless ``old`` is what a delete is meant for."""
    for label, field, want, have in (
        ("UID", "object meta", wanted.uid, old.uid),
        ("ResourceVersion", "object meta", wanted.resource_version, old.resource_version),
    ):
        if want and want != have:
            text = f"Precondition failed: {label} in precondition: {want}, {label} in {field}: {have}"
            raise precondition_failed(kind, old.name, text)
