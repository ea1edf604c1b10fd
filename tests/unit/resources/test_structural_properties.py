"""Whatever comes in, pruning, defaulting and validation keep their promises to each other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.resources.all import KINDS
from hyperd.resources.schema.formats import compile_pattern
from hyperd.resources.schema.kind import Kind
from hyperd.resources.schema.structural import Schema, apply_defaults, check_rules, prune, validate
from hyperd.resources.schema.unbuilt import refused_in, unbuilt_in
from tests.unit.resources.samples import examples

OURS = [kind for kind in KINDS if "spec" in kind.schema["properties"] and not kind.core]
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def valid(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that a schema allows, without regard to patterns and formats."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from([1, "1Gi"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            required = schema.get("required", ())
            children = {name: valid(child) for name, child in schema["properties"].items()}
            return st.fixed_dictionaries(
                {name: child for name, child in children.items() if name in required},
                optional={name: child for name, child in children.items() if name not in required},
            )
        case "object":
            return st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)
        case "array":
            return st.lists(valid(schema["items"]), max_size=2)
        case "string":
            return st.text(max_size=5)
        case "integer":
            return st.integers(1, 8)
        case "boolean":
            return st.booleans()
        case _:
            return ANY_JSON


def spoiled(schema: Schema) -> st.SearchStrategy[Any]:
    """Objects of a schema in whose spec something has been replaced by anything, or added."""
    whole = valid({"type": "object", "properties": {"spec": schema["properties"]["spec"]}, "required": ["spec"]})
    return st.builds(_spoil, whole, st.lists(st.integers(0, 7), min_size=1, max_size=4), ANY_JSON)


def _spoil(obj: Any, steps: list[int], value: Any) -> Any:
    obj, node = copy.deepcopy(obj), None
    node = obj
    for step in steps:
        children = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not children:
            break
        key = children[step % len(children)]
        if not isinstance(node[key], dict | list) or not node[key]:
            node[key] = value
            return obj
        node = node[key]
    if isinstance(node, dict):
        node["surprise"] = value
    return obj


KIND_AND_OBJECT = st.sampled_from(OURS).flatmap(
    lambda kind: st.tuples(st.just(kind), spoiled(kind.schema) | ANY_JSON.map(lambda value: {"spec": value}))
)


@settings(max_examples=100, deadline=None)
@given(KIND_AND_OBJECT)
def test_nothing_that_is_json_breaks_the_machinery(case: tuple[Kind, Any]) -> None:
    kind, obj = case
    prune(kind.schema, obj)
    apply_defaults(kind.schema, obj)
    if not validate(kind.schema, obj):
        check_rules(kind, obj, None)
        check_rules(kind, obj, copy.deepcopy(obj))
    unbuilt_in(kind, obj)
    refused_in(kind, obj)


@settings(max_examples=100, deadline=None)
@given(KIND_AND_OBJECT)
def test_what_is_pruned_and_defaulted_stays_so(case: tuple[Kind, Any]) -> None:
    kind, obj = case
    prune(kind.schema, obj)
    apply_defaults(kind.schema, obj)
    once = copy.deepcopy(obj)
    assert prune(kind.schema, obj) == []
    apply_defaults(kind.schema, obj)
    assert obj == once


@settings(max_examples=100, deadline=None)
@given(KIND_AND_OBJECT)
def test_what_is_accepted_can_be_stored_and_viewed(case: tuple[Kind, Any]) -> None:
    kind, obj = case
    prune(kind.schema, obj)
    apply_defaults(kind.schema, obj)
    if validate(kind.schema, obj) or check_rules(kind, obj, None):
        return
    assert orjson.loads(orjson.dumps(obj)) == obj
    assert kind.model is not None
    kind.model.model_validate(obj)


@settings(max_examples=100, deadline=None)
@given(KIND_AND_OBJECT)
def test_validation_changes_nothing(case: tuple[Kind, Any]) -> None:
    kind, obj = case
    before = copy.deepcopy(obj)
    validate(kind.schema, obj)
    assert obj == before


@given(st.sampled_from(examples()), st.text(min_size=1, max_size=5))
def test_an_unknown_field_anywhere_is_found(obj: Any, name: str) -> None:
    kind = KINDS.by_kind("virtualization.deckhouse.io", obj["kind"])
    assert kind is not None
    obj = copy.deepcopy(obj)
    for path, node in list(_typed_objects(kind.schema, obj)):
        key = f"zz{name}"
        node[key] = 1
        assert prune(kind.schema, obj) == [f'unknown field "{path}{key}"']
        assert key not in node


def _typed_objects(schema: Schema, value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects within ``value`` that have a fixed set of fields, each with its path and a dot."""
    if isinstance(value, dict) and "properties" in schema:
        yield path, value
        for key, child in list(value.items()):
            if key in schema["properties"] and path + key not in ("metadata",):
                yield from _typed_objects(schema["properties"][key], child, f"{path}{key}.")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _typed_objects(schema["items"], child, f"{path[:-1]}[{index}].")


@given(st.text(max_size=20))
def test_a_dollar_means_the_very_end(text: str) -> None:
    pattern = compile_pattern(r"^[a-z$]*\$?[^$]?$")
    assert not pattern.search("a\n\n" + text + "\n\n")
    assert pattern.search("a$b")
