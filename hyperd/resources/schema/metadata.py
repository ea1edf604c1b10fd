"""The rules of ``metadata`` that Kubernetes keeps for every kind: names, labels, annotations, finalizers, owners.

Names end up in file names, XML and host interfaces, so this is also the first line against hostile input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from hyperd.errors import Cause
from hyperd.resources.schema.formats import FORMATS
from hyperd.resources.schema.kind import Kind, Object

MAX_ANNOTATIONS_BYTES: Final = 256 * 1024
_MAX_SUBDOMAIN: Final = 253
_MAX_LABEL: Final = 63

_FIELDS: Final = frozenset((
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
))  # fmt: skip

_MANAGED_TEXTS: Final = ("manager", "operation", "apiVersion", "fieldsType", "subresource", "time")

_OWNER_TEXTS: Final = ("apiVersion", "kind", "name", "uid")
_OWNER_FLAGS: Final = ("controller", "blockOwnerDeletion")

_LABEL_TEXT = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_TEXT = rf"{_LABEL_TEXT}(\.{_LABEL_TEXT})*"
_1035_TEXT = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED_TEXT = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE_TEXT = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_LABEL = re.compile(_LABEL_TEXT)
_SUBDOMAIN = re.compile(_SUBDOMAIN_TEXT)
_LABEL_1035 = re.compile(_1035_TEXT)
_QUALIFIED = re.compile(_QUALIFIED_TEXT)
_VALUE = re.compile(_VALUE_TEXT)

_SUBDOMAIN_FAULT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN_TEXT}')"
)
_LABEL_FAULT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL_TEXT}')"
)
_1035_FAULT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    f"validation is '{_1035_TEXT}')"
)
_QUALIFIED_FAULT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    f"'{_QUALIFIED_TEXT}')"
)
_VALUE_FAULT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    f"validation is '{_VALUE_TEXT}')"
)


def quoted(value: object) -> str:
    """A value as Kubernetes shows it in messages: strings in double quotes, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False)


def prune_metadata(metadata: Object) -> list[str]:
    """Drop unknown fields of metadata in place; returns their names."""
    unknown = [name for name in metadata if name not in _FIELDS]
    for name in unknown:
        del metadata[name]
    return unknown


def check_metadata(kind: Kind, obj: Object) -> list[Cause]:
    """What breaks the rules of metadata. The name must be there: ``generateName`` is resolved before."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return [Cause("metadata", "Required value", "FieldValueRequired")]
    causes = type_faults(metadata)
    if causes:
        return causes
    name, prefix = metadata.get("name"), metadata.get("generateName")
    if prefix:
        # A trailing dash is what everybody writes; the suffix that follows makes the name whole.
        masked = prefix[:-1] + "a" if prefix.endswith("-") else prefix
        causes += (_invalid("metadata.generateName", prefix, fault) for fault in name_faults(kind, masked))
    if not name:
        causes.append(
            Cause("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")
        )
    else:
        causes += (_invalid("metadata.name", name, fault) for fault in name_faults(kind, name))
    causes += _check_labels(metadata.get("labels") or {})
    causes += _check_annotations(metadata.get("annotations") or {})
    causes += _check_finalizers(metadata.get("finalizers") or ())
    causes += _check_owners(metadata.get("ownerReferences") or ())
    return causes


def name_faults(kind: Kind, name: str) -> list[str]:
    """What is wrong with ``name`` as a name of ``kind``; empty when nothing."""
    if not kind.group and kind.plural == "namespaces":
        return _faults(name, _LABEL, _LABEL_FAULT, _MAX_LABEL)
    if not kind.group and kind.plural == "services":
        return _faults(name, _LABEL_1035, _1035_FAULT, _MAX_LABEL)
    return _faults(name, _SUBDOMAIN, _SUBDOMAIN_FAULT, _MAX_SUBDOMAIN)


def qualified_name_faults(key: str) -> list[str]:
    """What is wrong with ``key`` as the key of a label, annotation or finalizer."""
    prefix, slash, name = key.rpartition("/")
    faults: list[str] = []
    if slash:
        if not prefix:
            faults.append("prefix part must be non-empty")
        else:
            faults += (
                f"prefix part {fault}" for fault in _faults(prefix, _SUBDOMAIN, _SUBDOMAIN_FAULT, _MAX_SUBDOMAIN)
            )
    if not name:
        return [*faults, "name part must be non-empty"]
    return faults + [
        fault if fault == _QUALIFIED_FAULT else f"name part {fault}"
        for fault in _faults(name, _QUALIFIED, _QUALIFIED_FAULT, _MAX_LABEL)
    ]


def label_value_faults(value: str) -> list[str]:
    """What is wrong with ``value`` as the value of a label."""
    return _faults(value, _VALUE, _VALUE_FAULT, _MAX_LABEL)


def _faults(text: str, pattern: re.Pattern[str], fault: str, most: int) -> list[str]:
    faults = [f"must be no more than {most} bytes"] if len(text) > most else []
    # A hostile length is not worth a match.
    if len(text) > 4 * most or not pattern.fullmatch(text):
        faults.append(fault)
    return faults


def _invalid(field: str, value: object, fault: str) -> Cause:
    return Cause(field, f"Invalid value: {quoted(value)}: {fault}")


def type_faults(metadata: Object) -> list[Cause]:
    """Fields of ``metadata`` that have the wrong type."""
    causes: list[Cause] = []
    for name in ("name", "generateName", "namespace", "uid", "resourceVersion"):
        value = metadata.get(name)
        if value is not None and not isinstance(value, str):
            causes.append(_mistyped(f"metadata.{name}", "string"))
    for name in ("labels", "annotations"):
        entries = metadata.get(name)
        if not entries:
            continue
        if not isinstance(entries, dict):
            causes.append(_mistyped(f"metadata.{name}", "object"))
            continue
        causes += (
            _mistyped(f"metadata.{name}.{key}", "string")
            for key, value in entries.items()
            if not isinstance(value, str)
        )
    for name, inner in (("finalizers", str), ("ownerReferences", dict)):
        items = metadata.get(name)
        if not items:
            continue
        if not isinstance(items, list) or not all(isinstance(item, inner) for item in items):
            causes.append(_mistyped(f"metadata.{name}", f"array of {'strings' if inner is str else 'objects'}"))
        elif inner is dict:
            causes += _owner_faults(items)
    if entries := metadata.get("managedFields"):
        causes += _managed_faults(entries)
    return causes


def _owner_faults(owners: list[Object]) -> Iterator[Cause]:
    for index, owner in enumerate(owners):
        for fields, wanted, name in ((_OWNER_TEXTS, str, "string"), (_OWNER_FLAGS, bool, "boolean")):
            for field in fields:
                if owner.get(field) is not None and not isinstance(owner[field], wanted):
                    yield _mistyped(f"metadata.ownerReferences[{index}].{field}", name)


def _managed_faults(entries: object) -> list[Cause]:
    if type(entries) is not list:
        return [_mistyped("metadata.managedFields", "array of objects")]
    for index, entry in enumerate(entries):
        if type(entry) is not dict:
            return [_mistyped("metadata.managedFields", "array of objects")]
        for name in _MANAGED_TEXTS:
            value = entry.get(name)
            if value is not None and type(value) is not str:
                return [_mistyped(f"metadata.managedFields[{index}].{name}", "string")]
        if entry.get("time") and not FORMATS["date-time"](entry["time"]):
            return [_mistyped(f"metadata.managedFields[{index}].time", "date-time")]
    return []


def _mistyped(field: str, wanted: str) -> Cause:
    return Cause(field, f"Invalid value: must be of type {wanted}", "FieldValueTypeInvalid")


def _check_labels(labels: dict[str, str]) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in labels.items():
        causes += (_invalid("metadata.labels", key, fault) for fault in qualified_name_faults(key))
        causes += (_invalid("metadata.labels", value, fault) for fault in label_value_faults(value))
    return causes


def _check_annotations(annotations: dict[str, str]) -> list[Cause]:
    causes: list[Cause] = []
    total = 0
    for key, value in annotations.items():
        causes += (_invalid("metadata.annotations", key, fault) for fault in qualified_name_faults(key.lower()))
        total += len(key.encode()) + len(value.encode())
    if total > MAX_ANNOTATIONS_BYTES:
        text = f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes"
        causes.append(Cause("metadata.annotations", text, "FieldValueTooLong"))
    return causes


def _check_finalizers(finalizers: list[str] | tuple[str, ...]) -> list[Cause]:
    causes: list[Cause] = []
    for name in finalizers:
        faults = qualified_name_faults(name)
        if not faults and "/" not in name and name not in ("kubernetes", "orphan", "foregroundDeletion"):
            faults = ["name is neither a standard finalizer name nor is it fully qualified"]
        causes += (_invalid("metadata.finalizers", name, fault) for fault in faults)
    return causes


def _check_owners(owners: list[Object] | tuple[Object, ...]) -> list[Cause]:
    causes: list[Cause] = []
    for index, owner in enumerate(owners):
        causes += (
            Cause(f"metadata.ownerReferences[{index}].{name}", "Required value", "FieldValueRequired")
            for name in _OWNER_TEXTS
            if not owner.get(name)
        )
    if sum(1 for owner in owners if owner.get("controller")) > 1:
        text = "Only one reference can have Controller set to true"
        causes.append(Cause("metadata.ownerReferences", f"Invalid value: {text}"))
    return causes
