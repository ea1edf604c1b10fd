"""The three-way merge of ``apply``: what the manifest says now, what it said last, what the server has.

The same annotation and rules as kubectl's, so both can be used on one object. A field that was in the last
manifest and is not in this one is removed; what others set is left alone; lists are one value.
"""

from __future__ import annotations

import copy
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def annotated(manifest: Object) -> Object:
    """``manifest`` as it is to be stored: with itself as an annotation. Not Secrets: they would leak."""
    made = copy.deepcopy(manifest)
    annotations = made["metadata"].setdefault("annotations", {}) or {}
    made["metadata"]["annotations"] = annotations
    annotations.pop(LAST_APPLIED, None)
    if manifest.get("kind") == "Secret":
        if not annotations:
            del made["metadata"]["annotations"]
        return made
    annotations[LAST_APPLIED] = json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n"
    return made


def last_applied(live: Object) -> Object:
    """The manifest of the last apply; empty when there was none, or it is broken."""
    text = (live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED, "")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def merge_patch(last: Object, new: Object, live: Object) -> Object:
    """The JSON merge patch from ``live`` to what ``new`` wants; empty when nothing is to change."""
    return _joined(_changes(new, live), _removals(last, new, live))


def _changes(new: Object, live: Object) -> Object:
    out: Object = {}
    for key, value in new.items():
        have = live.get(key)
        if isinstance(value, dict) and isinstance(have, dict):
            if inner := _changes(value, have):
                out[key] = inner
        elif value is None:
            if key in live:
                out[key] = None
        elif key not in live or have != value:
            out[key] = value
    return out


def _removals(last: Object, new: Object, live: Object) -> Object:
    out: Object = {}
    for key, value in last.items():
        if key not in live:
            continue
        if key not in new:
            out[key] = None
        elif all(isinstance(each, dict) for each in (value, new[key], live[key])) and (
            inner := _removals(value, new[key], live[key])
        ):
            out[key] = inner
    out.pop("apiVersion", None)
    out.pop("kind", None)
    return out


def _joined(first: Object, second: Object) -> Object:
    out = dict(first)
    for key, value in second.items():
        mine = out.get(key)
        out[key] = _joined(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return out
