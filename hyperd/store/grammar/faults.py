"""Faults of fields of core kinds, worded as Kubernetes does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hyperd.errors import Cause
from hyperd.jsontypes import Json
from hyperd.resources.schema.metadata import quoted

_SHOWN = 256
"""Characters of a value that a sentence repeats."""


def short(value: Json) -> Json:
    """``value`` as a sentence may repeat it: a hostile one is cut."""
    return f"{value[:_SHOWN]}…" if isinstance(value, str) and len(value) > _SHOWN else value


def required(path: str, text: str = "") -> Cause:
    """``path`` is missing."""
    return Cause(path, f"Required value{': ' if text else ''}{text}", "FieldValueRequired")


def forbidden(path: str, text: str) -> Cause:
    """``path`` may not be there."""
    return Cause(path, f"Forbidden: {text}", "FieldValueForbidden")


def invalid(path: str, value: Json, text: str) -> Cause:
    """``path`` has a value that is wrong."""
    return Cause(path, f"Invalid value: {quoted(short(value))}: {text}")


def duplicate(path: str, value: Json) -> Cause:
    """``path`` has what another has already."""
    return Cause(path, f"Duplicate value: {quoted(short(value))}", "FieldValueDuplicate")


def supported(path: str, value: Json, known: Sequence[str]) -> Iterator[Cause]:
    """A fault where ``value`` is none of those that there are."""
    if value not in known:
        listed = ", ".join(quoted(one) for one in known)
        text = f"Unsupported value: {quoted(short(value))}: supported values: {listed}"
        yield Cause(path, text, "FieldValueNotSupported")
