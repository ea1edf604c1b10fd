"""Generated objects of every kind: examples with a few things wrong, and whatever a schema allows.

Near misses find more than noise: most of what is generated differs from a valid object in one to three places.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.structural import Schema
from tests.unit.resources.samples import examples

OURS = [kind for kind in KINDS if not kind.core]
NAME = "generated"

_WORDS = ("", "a", "Always", "generic", "1Gi", "10Gi", "100%", "5%", "0", "-1", "x y", "ü", "2006-01-02T15:04:05Z")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from((-1, 0, 1, 2, 3, 100, 1 << 31, -(1 << 31) - 1, (1 << 63) - 1, -(1 << 63))),
    st.sampled_from((0.5, -1.5, 1.0, 1e3, 2.5e20)),
    st.sampled_from(_WORDS),
    st.text(st.characters(codec="utf-8"), max_size=6),
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("a", "name", "b c")), inner, max_size=2)
    ),
    max_leaves=5,
)


def objects(kind: Kind) -> st.SearchStrategy[Object]:
    """Manifests of ``kind``, most of them almost valid."""
    samples = [obj for obj in examples() if obj["kind"] == kind.kind]
    made = st.builds(lambda spec: _manifest(kind, spec), whole(kind.schema["properties"].get("spec", {})))
    base = st.sampled_from(samples).map(copy.deepcopy) | made if samples else made
    return st.builds(_spoiled, base.map(lambda obj: _plain(kind, obj)), st.lists(edits(), max_size=3))


def valid(kind: Kind) -> Object:
    """An object of ``kind`` that nothing is wrong with."""
    return _plain(kind, next(obj for obj in examples() if obj["kind"] == kind.kind))


def whole(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that ``schema`` allows, patterns and formats mostly aside."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from((1, "1Gi", "50%"))
    match schema.get("type"):
        case "object" if "properties" in schema:
            required = schema.get("required", ())
            children = {name: whole(child) for name, child in schema["properties"].items()}
            return st.fixed_dictionaries(
                {name: child for name, child in children.items() if name in required},
                optional={name: child for name, child in children.items() if name not in required},
            )
        case "object":
            inner = whole(schema["additionalProperties"]) if "additionalProperties" in schema else SCALARS
            return st.dictionaries(st.sampled_from(("a", "b/c", "d e")), inner, max_size=2)
        case "array":
            return st.lists(whole(schema.get("items", {})), max_size=3)
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"], fullmatch=False).filter(lambda text: len(text) < 80) | _text()
        case "string":
            return _text()
        case "integer":
            return st.integers(schema.get("minimum", 0), min(schema.get("maximum", 9), 9))
        case "number":
            return st.sampled_from((0, 1, 0.5))
        case "boolean":
            return st.booleans()
    return ANY_JSON


def _text() -> st.SearchStrategy[str]:
    return st.sampled_from(_WORDS)


Edit = tuple[list[int], str, Any]
"""Where (choices among children), what (replace, remove, add, double), and with what."""


def edits() -> st.SearchStrategy[Edit]:
    """One change somewhere below ``spec``."""
    steps = st.lists(st.integers(0, 11), min_size=1, max_size=6)
    return st.tuples(steps, st.sampled_from(("replace", "remove", "add", "double")), ANY_JSON)


def _spoiled(obj: Object, changes: list[Edit]) -> Object:
    obj = copy.deepcopy(obj)
    for steps, action, value in changes:
        spoil(obj, steps, action, value)
    return obj


def spoil(obj: Object, steps: list[int], action: str, value: Any) -> None:
    """Apply one edit, in place."""
    node: Any = obj
    key: Any = "spec"
    for step in steps:
        child = node.get(key) if isinstance(node, dict) else node[key]
        if not isinstance(child, dict | list) or not child:
            break
        children = sorted(child) if isinstance(child, dict) else list(range(len(child)))
        node, key = child, children[step % len(children)]
    if action == "remove":
        if isinstance(node, list) or key in node:
            del node[key]
    elif action == "double" and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    elif action == "add" and isinstance(node, dict):
        node["surprise"] = value
    else:
        node[key] = value


def pointers(value: Any, path: str = "") -> Iterator[str]:
    """JSON pointers of everything within ``value``."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        here = f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
        yield here
        yield from pointers(child, here)


def _manifest(kind: Kind, spec: Any) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {}, "spec": spec}


def _plain(kind: Kind, obj: Object) -> Object:
    """``obj`` under the one name and in the one namespace of these tests."""
    meta: Object = {"name": NAME}
    if kind.namespaced:
        meta["namespace"] = "default"
    return {**obj, "apiVersion": kind.api_version, "metadata": meta}


def merge_patches(base: Object) -> st.SearchStrategy[Any]:
    """JSON merge patches of ``base``: values at one to three of its places, of which null removes, or noise."""
    change = st.tuples(st.lists(st.integers(0, 11), min_size=1, max_size=5), ANY_JSON)
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _merge_patch(base, changes)) | ANY_JSON


def _merge_patch(base: Object, changes: list[tuple[list[int], Any]]) -> Object:
    patch: Object = {}
    for steps, value in changes:
        node, at = base, patch
        for number, step in enumerate(steps):
            names = [*sorted(name for name in node if name not in _FIXED), "surprise"]
            name = names[step % len(names)]
            child = node.get(name)
            if number + 1 == len(steps) or not isinstance(child, dict) or not isinstance(at.get(name, {}), dict):
                at[name] = value
                break
            node, at = child, at.setdefault(name, {})
    return patch


_FIXED = ("apiVersion", "kind", "name", "namespace")


def json_patches(base: Object) -> st.SearchStrategy[Any]:
    """JSON patches whose pointers are of ``base``, or almost."""
    known = [pointer for pointer in pointers(base) if pointer.rpartition("/")[2] not in _FIXED]
    pointer = st.builds(
        str.__add__,
        st.sampled_from(known),
        st.sampled_from(("", "", "", "/-", "/0", "/1", "/a", "/~1", "/01", "/-1", "/-9")),
    )
    # What a server writes into metadata by itself differs between the homes.
    source = pointer.filter(lambda text: not text.startswith("/metadata"))
    value = ANY_JSON
    operation = st.one_of(
        st.fixed_dictionaries(
            {"op": st.sampled_from(("add", "replace", "test")), "path": pointer, "value": value}
        ),
        st.fixed_dictionaries({"op": st.just("remove"), "path": pointer}),
        st.fixed_dictionaries({"op": st.sampled_from(("move", "copy")), "path": pointer, "from": source}),
    )
    return st.lists(operation, min_size=1, max_size=3)
