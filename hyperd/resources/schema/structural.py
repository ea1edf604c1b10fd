"""A kube-apiserver's work on a custom resource: prune, default, validate, and ask the cross-field rules.

Everything here is pure and runs on plain JSON with the schema of ``Kind.schema``; there is no pydantic at run
time, because the store does this on every write. Order, as in Kubernetes: ``prune``, ``apply_defaults``,
``validate``, and unless that found one of ``BLOCKING``, ``check_rules``. Wording is kube-apiserver's, so clients
that match it keep working.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from hyperd.errors import Cause, Invalid
from hyperd.resources.schema.formats import FORMATS, compile_pattern
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.schema.metadata import check_metadata, prune_metadata, quoted

Schema = Mapping[str, Any]

__all__ = [
    "BLOCKING", "Schema", "apply_defaults", "check_metadata", "check_rules", "drop_empty", "invalid", "prune",
    "subschema", "validate", "values_at",
]  # fmt: skip

_JSON_TYPES: Final = {
    str: "string", int: "integer", bool: "boolean", dict: "object", list: "array", float: "number",
    type(None): "null",
}  # fmt: skip
BLOCKING: Final = frozenset((
    "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
    "FieldValueTypeInvalid",
))  # fmt: skip
"""Reasons of causes after which a kube-apiserver does not ask the cross-field rules any more."""

_ROOT_FIELDS: Final = frozenset(("apiVersion", "kind", "metadata"))
_MAX_CAUSES: Final = 100
_MAX_CAUSE_CHARS: Final = 64 << 10
"""Characters of all causes together, which may repeat what was sent."""


def prune(schema: Schema, obj: Object) -> list[str]:
    """Drop what the schema does not know, in place.

    Returns one strict-decoding error for each, ready for the user: ``unknown field "spec.foo"``.
    """
    dropped: list[str] = []
    _prune(schema, obj, "", dropped, keep=_ROOT_FIELDS)
    metadata = obj.get("metadata")
    if type(metadata) is dict:
        dropped += (f"metadata.{name}" for name in prune_metadata(metadata))
    return [f'unknown field "{path}"' for path in dropped]


def _prune(
    schema: Schema, value: object, path: str, dropped: list[str], *, keep: frozenset[str] = frozenset()
) -> None:
    if type(value) is dict:
        properties = schema.get("properties") or {}
        extra = schema.get("additionalProperties")
        unknown: list[str] = []
        for name, child in value.items():
            known = properties.get(name, extra)
            if known is None or known is False:
                if name not in keep:
                    unknown.append(name)
            elif type(child) in (dict, list) and known is not True and name not in keep:
                _prune(known, child, f"{path}.{name}" if path else name, dropped)
        if unknown and not schema.get("x-kubernetes-preserve-unknown-fields"):
            for name in unknown:
                del value[name]
                dropped.append(f"{path}.{name}" if path else name)
    elif type(value) is list and (items := schema.get("items")) is not None:
        for index, child in enumerate(value):
            if type(child) in (dict, list):
                _prune(items, child, f"{path}[{index}]", dropped)


def apply_defaults(schema: Schema, obj: Object, *, keep_nulls: bool = False) -> None:
    """Fill in defaults, in place. A null where none is allowed counts as absent, as in Kubernetes.

    ``keep_nulls`` leaves one that has no default to ``validate``, as is done with what was applied.
    """
    _default(schema, obj, keep_nulls)


def _default(schema: Schema, value: object, keep_nulls: bool) -> None:
    if type(value) is list:
        items = schema.get("items")
        if items is not None:
            for child in value:
                if type(child) in (dict, list):
                    _default(items, child, keep_nulls)
        return
    if type(value) is not dict:
        return
    properties = schema.get("properties") or {}
    for name, known in properties.items():
        child = value.get(name)
        if child is None:
            if name in value:
                if known.get("nullable") or (keep_nulls and "default" not in known):
                    continue
                del value[name]
            if "default" not in known:
                continue
            child = value[name] = _copy(known["default"])
        if type(child) in (dict, list):
            _default(known, child, keep_nulls)
    extra = schema.get("additionalProperties")
    if type(extra) is dict:
        for child in value.values():
            if type(child) in (dict, list):
                _default(extra, child, keep_nulls)


def _copy(value: object) -> object:
    if type(value) is dict:
        return {key: _copy(child) for key, child in value.items()}
    if type(value) is list:
        return [_copy(child) for child in value]
    return value


def drop_empty(schema: Schema, obj: Object) -> None:
    """Drop nulls, and maps and lists without content, in place, where ``schema`` knows them.

    Kubernetes' own kinds say so by leaving them out; what is not in the schema stays as it is.
    """
    for name, known in (schema.get("properties") or {}).items():
        if name not in obj:
            continue
        value = obj[name]
        if value is None or (not value and ("additionalProperties" in known or known.get("type") == "array")):
            del obj[name]
        elif type(value) is dict:
            drop_empty(known, value)


def validate(schema: Schema, obj: Object) -> list[Cause]:
    """What in ``obj`` breaks the schema; metadata is ``check_metadata``'s."""
    causes: list[Cause] = []
    _validate(schema, obj, "", causes)
    return causes


def validate_change(schema: Schema, new: Object, old: Object) -> list[Cause]:
    """What in ``new`` breaks the schema, but for a spec or status that an older schema allowed and that stays."""
    kept = {part for part in ("spec", "status") if part in new and new[part] == old.get(part)}
    return [cause for cause in validate(schema, new) if cause.field.partition(".")[0] not in kept]


def _validate(schema: Schema, value: object, path: str, causes: list[Cause]) -> None:
    kind = type(value)
    wanted = schema.get("type")
    if wanted is None:
        if not _check_untyped(schema, value, path, causes):
            return
    elif _JSON_TYPES.get(kind) != wanted and not _fits(wanted, value):
        if value is not None or not schema.get("nullable"):
            got = _JSON_TYPES.get(kind, "string")
            causes.append(_type_cause(path, wanted, got))
        return
    if (allowed := schema.get("enum")) is not None and value not in allowed:
        listed = ", ".join(quoted(item) for item in allowed)
        message = f"Unsupported value: {quoted(value)}: supported values: {listed}"
        causes.append(Cause(path, message, "FieldValueNotSupported"))
        return
    if isinstance(value, dict):
        _check_object(schema, value, path, causes)
    elif isinstance(value, list):
        _check_array(schema, value, path, causes)
    elif isinstance(value, str):
        _check_string(schema, value, path, causes)
    elif isinstance(value, (int, float)) and kind is not bool:
        _check_number(schema, value, path, causes)


def _check_untyped(schema: Schema, value: object, path: str, causes: list[Cause]) -> bool:
    """Int-or-string, or anything at all; whether to go on."""
    if not schema.get("x-kubernetes-int-or-string"):
        return True
    if type(value) is str or type(value) is int:
        return True
    causes.append(_type_cause(path, "integer,string", _JSON_TYPES.get(type(value), "string")))
    return False


def _fits(wanted: str, value: object) -> bool:
    if wanted == "number":
        return type(value) is int
    return wanted == "integer" and type(value) is float and value.is_integer()


def _type_cause(path: str, wanted: str, got: str) -> Cause:
    message = f'Invalid value: "{got}": {path} in body must be of type {wanted}: "{got}"'
    return Cause(path, message, "FieldValueTypeInvalid")


def _fault(path: str, value: object, text: str, reason: str = "FieldValueInvalid") -> Cause:
    return Cause(path, f"Invalid value: {quoted(value)}: {path} in body {text}", reason)


def _check_object(schema: Schema, value: Object, path: str, causes: list[Cause]) -> None:
    prefix = f"{path}." if path else ""
    for name in schema.get("required") or ():
        if name not in value:
            causes.append(Cause(prefix + name, "Required value", "FieldValueRequired"))
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for name, child in value.items():
        known = properties.get(name, extra)
        if type(known) is dict:
            _validate(known, child, prefix + name, causes)
    most = schema.get("maxProperties")
    if most is not None and len(value) > most:
        text = f"Too many: {len(value)}: must have at most {most} items"
        causes.append(Cause(path, text, "FieldValueTooMany"))


def _check_array(schema: Schema, value: list[object], path: str, causes: list[Cause]) -> None:
    count = len(value)
    most = schema.get("maxItems")
    if most is not None and count > most:
        text = f"Too many: {count}: must have at most {most} items"
        causes.append(Cause(path, text, "FieldValueTooMany"))
        return
    if count < schema.get("minItems", 0):
        causes.append(_fault(path, value, f"should have at least {schema['minItems']} items"))
    items = schema.get("items")
    if items is not None:
        for index, child in enumerate(value):
            _validate(items, child, f"{path}[{index}]", causes)
    list_type = schema.get("x-kubernetes-list-type")
    if list_type in ("set", "map"):
        _check_duplicates(schema.get("x-kubernetes-list-map-keys"), value, path, causes)


def _check_duplicates(keys: Sequence[str] | None, value: list[object], path: str, causes: list[Cause]) -> None:
    seen: dict[str, int] = {}
    for index, child in enumerate(value):
        if keys is not None and type(child) is dict:
            child = {key: child[key] for key in keys if key in child}
        identity = json.dumps(child, sort_keys=True)
        seen[identity] = seen.get(identity, 0) + 1
        if seen[identity] == 2:
            causes.append(Cause(f"{path}[{index}]", f"Duplicate value: {identity}", "FieldValueDuplicate"))


def _check_string(schema: Schema, value: str, path: str, causes: list[Cause]) -> None:
    most = schema.get("maxLength")
    if most is not None and len(value) > most:
        causes.append(Cause(path, f"Too long: may not be more than {most} bytes", "FieldValueTooLong"))
        return
    if len(value) < schema.get("minLength", 0):
        causes.append(_fault(path, value, f"should be at least {schema['minLength']} chars long"))
    pattern = schema.get("pattern")
    if pattern is not None and not compile_pattern(pattern).search(value):
        causes.append(_fault(path, value, f"should match '{pattern}'"))
    form = schema.get("format")
    if form is not None and (holds := FORMATS.get(form)) is not None and not holds(value):
        causes.append(_fault(path, value, f"must be of type {form}: {quoted(value)}", "FieldValueTypeInvalid"))


def _check_number(schema: Schema, value: int | float, path: str, causes: list[Cause]) -> None:
    if schema.get("type") == "integer":
        form = schema.get("format", "int64")
        limit = 1 << (31 if form == "int32" else 63)
        if not -limit <= value < limit:
            causes.append(_fault(path, value, f'must be of type {form}: "{value}"', "FieldValueTypeInvalid"))
            return
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and value < least:
        causes.append(_fault(path, value, f"should be greater than or equal to {least}"))
    if most is not None and value > most:
        causes.append(_fault(path, value, f"should be less than or equal to {most}"))


def check_rules(kind: Kind, new: Object, old: Object | None) -> list[Cause]:
    """Which cross-field rules of ``kind`` do not hold; ``new`` must have passed ``validate``.

    As with CEL in Kubernetes, a rule is asked where its value is present, and a transition rule only where the
    former value is present too.
    """
    causes: list[Cause] = []
    for rule in kind.validations:
        former = None
        if old is not None and "[]" not in rule.path:
            former = next((value for _, value in values_at(old, rule.path)), None)
        if rule.transition and former is None:
            continue
        for path, value in values_at(new, rule.path):
            if not rule.holds(value, former):
                shown = _JSON_TYPES.get(type(value), "object")
                causes.append(Cause(path, f'Invalid value: "{shown}": {rule.message}'))
    return causes


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[tuple[str, bool], ...]:
    """``spec.items[].name`` as (name, whether to descend into each item) pairs."""
    return tuple((part.removesuffix("[]"), part.endswith("[]")) for part in path.split("."))


def values_at(obj: AnyObject, path: str) -> Iterator[tuple[str, Any]]:
    """Each value at ``path`` (``spec.policies[].cores``) with its concrete path; none where absent or null."""
    found: list[tuple[str, Any]] = [("", obj)]
    for name, each in _steps(path):
        deeper: list[tuple[str, Any]] = []
        for where, value in found:
            child = value.get(name) if type(value) is dict else None
            if child is None:
                continue
            here = f"{where}.{name}" if where else name
            if not each:
                deeper.append((here, child))
            elif type(child) is list:
                deeper += ((f"{here}[{index}]", item) for index, item in enumerate(child))
        found = deeper
    yield from found


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> Invalid:
    """The 422 that names every cause, worded as a kube-apiserver does; of very many, the first."""
    if (more := len(causes) - _MAX_CAUSES) > 0:
        causes = [*causes[:_MAX_CAUSES], Cause("", f"and {more} more faults")]
    if sum(len(cause.field) + len(cause.message) for cause in causes) > _MAX_CAUSE_CHARS:
        each = _MAX_CAUSE_CHARS // len(causes)
        causes = [Cause(_cut(cause.field, each), _cut(cause.message, each), cause.reason) for cause in causes]
    listed = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    text = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    return Invalid(
        f"{qualified} {quoted(name)} is invalid: {text}",
        causes=causes,
        kind=kind.kind,
        group=kind.group,
        name=name,
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def subschema(schema: Schema, path: str) -> Schema | None:
    """The schema of the field at ``path`` (``spec.policies[].cores``), or None when there is no such field."""
    node: Schema | None = schema
    for name, each in _steps(path):
        node = (node.get("properties") or {}).get(name) if node else None
        if node is not None and each:
            node = cast(Schema, node.get("items"))
    return node
