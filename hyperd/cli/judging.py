"""All faults of manifests that a server refuses: it names the first, the kinds' schemas here find the others.

Rules across objects are the server's alone. An object that it refuses only for now, because what it needs comes
later in the same manifests, has no fault here.
"""

from __future__ import annotations

import copy
import re

from hyperd.cli.manifests import Manifest
from hyperd.cli.sources import Fault
from hyperd.errors import BadRequest, Cause, HyperdError, Invalid
from hyperd.resources.all import KINDS
from hyperd.resources.core.types import core_type_faults
from hyperd.resources.schema.kind import Kind
from hyperd.resources.schema.metadata import prune_metadata, type_faults
from hyperd.resources.schema.structural import (
    BLOCKING,
    apply_defaults,
    check_metadata,
    check_rules,
    prune,
    validate,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_UNKNOWN = re.compile(r'unknown field "(.+)"')
_WEBHOOK = "admission webhook"


def faults_of(manifest: Manifest, refusal: HyperdError | None, *, exists: bool) -> list[Fault]:
    """Every fault of an object that was refused; ``exists`` says that it is there, and only changed by this.

    Without ``refusal`` no server was asked, and its kind's schema alone has a say.
    """
    obj = manifest.obj
    group, _, version = str(obj.get("apiVersion")).rpartition("/")
    known = KINDS.by_kind(group, str(obj.get("kind")))
    kind = KINDS.in_version(group, known.plural, version) if known is not None else None
    causes = [] if kind is None else _causes(kind, copy.deepcopy(obj))
    if exists:
        # What is required may be there already.
        causes = [cause for cause in causes if cause.reason != "FieldValueRequired"]
    if refusal is not None and not causes and (kind is None or kind.core):
        causes = _causes_named(refusal)
    name = obj["metadata"].get("name") or obj["metadata"].get("generateName")
    return [
        manifest.fault(cause.field, f"{obj['kind']} {name}: {_sentence(cause)}") for cause in dict.fromkeys(causes)
    ]


def _causes(kind: Kind, obj: Object) -> list[Cause]:
    """As the embedded home judges an object that it is to create."""
    metadata = obj["metadata"]
    causes = list(type_faults(metadata))
    if kind.core:
        causes += core_type_faults(kind.schema, obj)
    if causes:
        return causes
    if kind.core:
        return [_unknown(f"metadata.{name}") for name in prune_metadata(metadata)] + check_metadata(kind, obj)
    obj.pop("status", None)
    causes += [_unknown(found[1]) for text in prune(kind.schema, obj) if (found := _UNKNOWN.match(text))]
    apply_defaults(kind.schema, obj)
    causes += check_metadata(kind, obj)
    causes += validate(kind.schema, obj)
    if not any(cause.reason in BLOCKING for cause in causes):
        causes += check_rules(kind, obj, None)
    return causes


def _unknown(path: str) -> Cause:
    return Cause(path, "unknown field")


def _causes_named(refusal: HyperdError) -> list[Cause]:
    """What the server itself says of an object whose schema is not known here."""
    if not isinstance(refusal, BadRequest | Invalid) or _WEBHOOK in refusal.message:
        return []
    if unknown := _UNKNOWN.findall(refusal.message):
        return [_unknown(path) for found in unknown for path in found.split('", unknown field "')]
    return list(refusal.causes) or [Cause("", refusal.message)]


def _sentence(cause: Cause) -> str:
    return f"{cause.field}: {cause.message}" if cause.field else cause.message
