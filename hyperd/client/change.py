"""An object that somebody edits: what is shown of it, what was changed, and what of that still fits.

A change is a JSON merge patch with the resourceVersion that was seen, so that nobody's write is lost. Where the
object moved on meanwhile, what was changed is laid over it again, unless both changed the same field.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NamedTuple

    from hyperd.resources.schema.kind import Object

    class Difference(NamedTuple):
        """A field (``spec.memory.size``) and both values; None where there is none."""

        path: str
        before: object
        after: object
else:
    from collections import namedtuple

    Difference = namedtuple("Difference", ("path", "before", "after"))

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SERVERS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
"""Of metadata, what the server writes."""


def editable(obj: Object) -> Object:
    """What a person may change of ``obj``: without its status, and what the server writes of metadata."""
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _SERVERS}
    annotations = metadata.pop("annotations", None)
    if isinstance(annotations, dict):
        annotations = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    if annotations:
        metadata["annotations"] = annotations
    rest = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    head: Object = {key: rest.pop(key) for key in ("apiVersion", "kind") if key in rest}
    return {**head, "metadata": metadata, **rest}


def patch_of(before: Object, after: Object) -> Object:
    """The JSON merge patch from the one to the other; empty where they are equal."""
    found: Object = {key: None for key in before if key not in after}
    for key, value in after.items():
        have = before.get(key)
        if isinstance(value, dict) and isinstance(have, dict):
            if inner := patch_of(have, value):
                found[key] = inner
        elif key not in before or have != value:
            found[key] = value
    return found


def at_version(patch: Object, obj: Object) -> Object:
    """``patch`` so that it is refused where ``obj`` is not what is there any more."""
    version = (obj.get("metadata") or {}).get("resourceVersion")
    return {**patch, "metadata": {**(patch.get("metadata") or {}), "resourceVersion": version}}


def differences(before: object, after: object, path: str = "") -> Iterator[Difference]:
    """What differs, field by field; of lists, entry by entry."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(after, list):
        for number in range(max(len(before), len(after))):
            one = before[number] if number < len(before) else None
            other = after[number] if number < len(after) else None
            yield from differences(one, other, f"{path}[{number}]")
    elif before != after:
        yield Difference(path, before, after)


def text_of(value: object) -> str:
    """One side of a difference as it stands in YAML, on one line."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def veiled(before: Object | None, after: Object) -> tuple[Object | None, Object]:
    """Both as they may be shown: of a Secret, only which values differ."""
    if after.get("kind") != "Secret":
        return before, after
    shown = [dict(side or {}) for side in (before, after)]
    for field in ("data", "stringData"):
        values = [side.get(field) for side in shown]
        one, other = (value if isinstance(value, dict) else {} for value in values)
        for side, mine, theirs, word in ((shown[0], one, other, "before"), (shown[1], other, one, "after")):
            if mine:
                side[field] = {
                    key: "***" if theirs.get(key) == value else f"*** ({word})" for key, value in mine.items()
                }
    return shown[0] if before is not None else None, shown[1]


def conflicts(original: Object, edited: Object, live: Object) -> Sequence[str]:
    """Fields that were changed here and there, each in another way; by fields of a merge patch, lists as one."""
    return sorted(_clashes(patch_of(original, edited), patch_of(original, live)))


def _clashes(mine: Object, theirs: Object, path: str = "") -> Iterator[str]:
    for key, value in mine.items():
        if key not in theirs or theirs[key] == value:
            continue
        place = f"{path}.{key}" if path else key
        if isinstance(value, dict) and isinstance(theirs[key], dict):
            yield from _clashes(value, theirs[key], place)
        else:
            yield place
