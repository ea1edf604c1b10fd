"""What an object asks for that this version does not do.

A kind lists such fields once (``Kind.unbuilt``, ``Kind.refused``), as paths or as ``path=value``. Admission warns
or refuses, controllers set a condition: nothing is silently ignored.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

from hyperd.resources.schema.kind import AnyObject, Kind
from hyperd.resources.schema.structural import values_at


class Unbuilt(NamedTuple):
    """One such field: where it is, and what to tell the user."""

    field: str
    sentence: str


def unbuilt_in(kind: Kind, obj: AnyObject, *, built: Container[str] = ()) -> list[Unbuilt]:
    """Fields that are accepted and have no effect; ``built`` are those of ``Kind.unbuilt`` that have one here."""
    return _named({key: sentence for key, sentence in kind.unbuilt.items() if key not in built}, obj)


def refused_in(kind: Kind, obj: AnyObject) -> list[Unbuilt]:
    """Fields that would cost data or safety if they were ignored."""
    return _named(kind.refused, obj)


def _named(declared: Mapping[str, str], obj: AnyObject) -> list[Unbuilt]:
    found = []
    for key, sentence in declared.items():
        path, equals, wanted = key.partition("=")
        for where, value in values_at(obj, path):
            if value == wanted if equals else value not in ({}, [], ""):
                found.append(Unbuilt(where, sentence))
                break
    return found
