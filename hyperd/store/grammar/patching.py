"""Patches of the wire applied to an object: JSON patch (RFC 6902), merge patch (RFC 7396), strategic merge.

The rule it keeps: a patch is hostile input. It is bounded in operations, in depth and in what copying may add up
to; it fails as a whole and with the status a kube-apiserver would give. Objects passed in may be changed in place.
"""

from __future__ import annotations

import re

import orjson

from hyperd.errors import BadRequest, Invalid, RequestEntityTooLarge, UnsupportedMediaType
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.equality import same
from hyperd.store.grammar import strategic
from hyperd.store.interface import PatchType

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 << 20

_MISSING = object()
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def apply_patch(kind: Kind, obj: Object, patch_type: PatchType, patch: object) -> Object:
    """``obj`` after ``patch``, which is any but an apply.

    Raises BadRequest for a malformed patch, Invalid for one that does not apply, UnsupportedMediaType for a
    strategic merge patch of a kind that has no merge keys.
    """
    try:
        orjson.dumps(patch)
    except orjson.JSONEncodeError as err:
        raise BadRequest(f"the patch cannot be encoded as JSON: {err}") from err
    if patch_type is PatchType.JSON:
        return json_patch(obj, patch)
    if patch_type is PatchType.STRATEGIC and not kind.core:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{PatchType.JSON}, {PatchType.MERGE}, {PatchType.APPLY}"
        )
    if not isinstance(patch, dict):
        raise BadRequest("the patch must be a JSON object")
    if patch_type is PatchType.STRATEGIC:
        return strategic.merge(obj, patch)
    return _merged(obj, patch)


def merge_patch(target: object, patch: object) -> object:
    """RFC 7396: null removes, objects merge, anything else replaces."""
    return _merged(target, patch) if isinstance(patch, dict) else patch


def _merged(target: object, patch: Object) -> Object:
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(obj: object, operations: object) -> Object:
    """RFC 6902: all operations, or an error and no change that matters.

    As in a kube-apiserver, a field that its object lacks is null to "test" and "copy", and "replace" makes it.
    """
    if not isinstance(operations, list):
        raise BadRequest("a JSON patch must be an array of operations")
    if len(operations) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        )
    copied = 0
    for number, operation in enumerate(operations):
        if not isinstance(operation, dict):
            raise BadRequest(f"operation {number} of the JSON patch must be an object")
        name = operation.get("op")
        path = _pointer(operation, "path", number)
        if name in ("add", "replace", "test"):
            if "value" not in operation:
                raise BadRequest(f'operation {number} of the JSON patch: "{name}" needs a value')
            value = operation["value"]
            obj = _test(obj, path, value) if name == "test" else _set(obj, path, _copy(value), add=name == "add")
        elif name == "remove":
            obj, _ = _cut(obj, path)
        elif name in ("move", "copy"):
            source = _pointer(operation, "from", number)
            if name == "move":
                if path[: len(source)] == source and path != source:
                    raise _refused(path, "an object cannot be moved into itself")
                obj, value = _cut(obj, source)
            else:
                encoded = orjson.dumps(_look(obj, source))
                copied += len(encoded)
                if copied > MAX_COPIED_BYTES:
                    raise RequestEntityTooLarge(f"a JSON patch may copy at most {MAX_COPIED_BYTES} bytes")
                value = orjson.loads(encoded)
            obj = _set(obj, path, value, add=True)
        else:
            raise BadRequest(f"operation {number} of the JSON patch: unknown op {str(name)[:32]!r}")
    if not isinstance(obj, dict):
        raise Invalid("the server rejected our request: the patch leaves no object")
    return obj


Path = tuple[str, ...]


def _pointer(operation: Object, field: str, number: int) -> Path:
    """A JSON pointer as its parts."""
    text = operation.get(field)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise BadRequest(f'operation {number} of the JSON patch: "{field}" must be a pointer such as /spec/x')
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def _shown(path: Path) -> str:
    return "".join(f"/{part}" for part in path)[:200]


def _refused(path: Path, why: str) -> Invalid:
    return Invalid(f"the server rejected our request due to an error in our request: {_shown(path) or '/'}: {why}")


def copies(operations: object) -> bool:
    """Whether a JSON patch may make more of an object than what is in either: copies of copies double."""
    return isinstance(operations, list) and any(
        isinstance(operation, dict) and operation.get("op") == "copy" for operation in operations
    )


def _copy(value: object) -> object:
    return orjson.loads(orjson.dumps(value))


def _index(part: str, length: int, path: Path) -> int:
    """An index as Go reads numbers, below ``length``; negative ones count from the end, as in a kube-apiserver."""
    if _NUMBER.fullmatch(part) is None:
        raise _refused(path, f"{part[:32]!r} is no index of a list")
    index = int(part)
    if not -length <= index < length:
        raise _refused(path, f"the list has no item {index}")
    return index % length


def _step(node: object, part: str, path: Path) -> object:
    if isinstance(node, dict):
        found = node.get(part, _MISSING)
        if found is _MISSING:
            raise _refused(path, "there is no such field")
        return found
    if isinstance(node, list):
        return node[_index(part, len(node), path)]
    raise _refused(path, "there is no such field")


def _find(obj: object, path: Path) -> object:
    for part in path:
        obj = _step(obj, part, path)
    return obj


def _look(obj: object, path: Path) -> object:
    """The value at ``path``; None for a field that its object does not have."""
    if not path:
        return obj
    parent = _find(obj, path[:-1])
    return parent.get(path[-1]) if isinstance(parent, dict) else _step(parent, path[-1], path)


def _set(obj: object, path: Path, value: object, *, add: bool) -> object:
    if not path:
        return value
    parent = _find(obj, path[:-1])
    last = path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        if add:
            parent.insert(len(parent) if last == "-" else _index(last, len(parent) + 1, path), value)
        else:
            parent[_index(last, len(parent), path)] = value
    else:
        raise _refused(path, "its parent is neither an object nor a list")
    return obj


def _cut(obj: object, path: Path) -> tuple[object, object]:
    if not path:
        raise _refused(path, "the whole object cannot be removed")
    parent = _find(obj, path[:-1])
    value = _step(parent, path[-1], path)
    if isinstance(parent, dict):
        del parent[path[-1]]
    elif isinstance(parent, list):
        del parent[_index(path[-1], len(parent), path)]
    return obj, value


def _test(obj: object, path: Path, value: object) -> object:
    if not same(_look(obj, path), value):
        raise _refused(path, "the test failed")
    return obj
