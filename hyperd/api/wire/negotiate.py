"""What form of answer a client accepts: a pure function of the Accept header, cached by its text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from hyperd.api.wire.protobuf import MEDIA_TYPE as PROTOBUF
from hyperd.errors import NotAcceptable

JSON = "application/json"
YAML = "application/yaml"
PROBLEM = "application/problem+json"


class Form(StrEnum):
    """What an object is turned into before it is sent."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"
    DISCOVERY = "APIGroupDiscoveryList"


@dataclass(frozen=True)
class Accepted:
    """The chosen answer: media type, form, and the form's API version (``v1``, ``v2``, ``v2beta1``)."""

    media_type: str = JSON
    form: Form = Form.OBJECT
    version: str = ""


PLAIN = Accepted()
_FORM_GROUPS = {
    Form.TABLE: ("meta.k8s.io", ("v1", "v1beta1")),
    Form.PARTIAL: ("meta.k8s.io", ("v1", "v1beta1")),
    Form.PARTIAL_LIST: ("meta.k8s.io", ("v1", "v1beta1")),
    Form.DISCOVERY: ("apidiscovery.k8s.io", ("v2", "v2beta1")),
}
_ANY_JSON = ("*/*", "application/*", JSON)


@dataclass(frozen=True)
class _Range:
    media_type: str
    quality: float
    as_: str
    group: str
    version: str


def _ranges(header: str) -> list[_Range]:
    ranges = []
    for part in header.split(","):
        media_type, *params = [piece.strip() for piece in part.split(";")]
        values = dict(param.split("=", 1) for param in params if "=" in param)
        try:
            quality = float(values.get("q", "1"))
        except ValueError:
            quality = 0.0
        if media_type and quality > 0:
            group, version = values.get("g", ""), values.get("v", "")
            ranges.append(_Range(media_type.lower(), quality, values.get("as", ""), group, version))
    return sorted(ranges, key=lambda range_: -range_.quality)


def _form(range_: _Range, forms: frozenset[Form]) -> Accepted | None:
    """The transformed answer that ``range_`` asks for, if it is among ``forms``."""
    for form in forms:
        group, versions = _FORM_GROUPS[form]
        if range_.as_ == form and range_.group == group and range_.version in versions:
            return Accepted(JSON, form, range_.version)
    return None


@lru_cache(maxsize=512)
def negotiate(header: str, forms: frozenset[Form] = frozenset(), *, protobuf: bool = False) -> Accepted:
    """The best answer for an Accept header.

    JSON wins over protobuf wherever both are accepted, as it is what the store holds. Raises NotAcceptable.
    """
    if not header:
        return PLAIN
    ranges = _ranges(header)
    fallback = ""
    for range_ in ranges:
        if range_.as_:
            wanted = _form(range_, forms) if range_.media_type in _ANY_JSON else None
            if wanted:
                return wanted
            continue
        if range_.media_type in (*_ANY_JSON, PROBLEM):
            return PLAIN
        if range_.media_type in (YAML, "application/yml", "text/yaml"):
            return Accepted(YAML)
        if range_.media_type == PROTOBUF and protobuf:
            fallback = PROTOBUF
    if fallback:
        return Accepted(fallback)
    raise NotAcceptable(
        "only the following media types are accepted: application/json, application/yaml, "
        f"{PROTOBUF} (core kinds only)"
    )


def wants_problem(header: str) -> bool:
    """Whether errors are to be RFC 9457 documents."""
    return PROBLEM in header.lower()
