"""The patch engines against their RFCs, and against anything at all."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.errors import BadRequest, Invalid, RequestEntityTooLarge
from hyperd.store.grammar import strategic
from hyperd.store.grammar.patching import apply_patch, json_patch, merge_patch
from hyperd.store.interface import PatchType
from tests.contract.store.kinds import CONFIG_MAPS

KEYS = st.sampled_from(["a", "b", "c", "~", "/", "", "0", "finalizers", "conditions", "$patch"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "merge"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)
POINTERS = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~0", "~1", "", "01"]), max_size=4).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": POINTERS,
        "from": POINTERS,
        "value": JSON,
    }
)


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_of_rfc_7396(target: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(target, patch) == expected


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/l/1", "value": 9}], {"l": [1, 9, 2], "o": {"a/b": 1, "m~n": 2}}),
        ([{"op": "add", "path": "/l/-", "value": 9}], {"l": [1, 2, 9], "o": {"a/b": 1, "m~n": 2}}),
        ([{"op": "remove", "path": "/l/0"}], {"l": [2], "o": {"a/b": 1, "m~n": 2}}),
        ([{"op": "replace", "path": "/o/a~1b", "value": 7}], {"l": [1, 2], "o": {"a/b": 7, "m~n": 2}}),
        ([{"op": "move", "from": "/o/m~0n", "path": "/x"}], {"l": [1, 2], "o": {"a/b": 1}, "x": 2}),
        ([{"op": "move", "from": "/l/0", "path": "/l/1"}], {"l": [2, 1], "o": {"a/b": 1, "m~n": 2}}),
        ([{"op": "copy", "from": "/l", "path": "/o"}], {"l": [1, 2], "o": [1, 2]}),
        ([{"op": "test", "path": "/l", "value": [1, 2]}], {"l": [1, 2], "o": {"a/b": 1, "m~n": 2}}),
        ([{"op": "replace", "path": "", "value": {"z": 1}}], {"z": 1}),
        ([], {"l": [1, 2], "o": {"a/b": 1, "m~n": 2}}),
    ],
)
def test_json_patches_of_rfc_6902(operations: list[Any], expected: Any) -> None:
    assert json_patch({"l": [1, 2], "o": {"a/b": 1, "m~n": 2}}, operations) == expected


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "replace", "path": "/none", "value": 1}, {"l": [1], "none": 1}),
        ({"op": "test", "path": "/none", "value": None}, {"l": [1]}),
        ({"op": "copy", "from": "/none", "path": "/x"}, {"l": [1], "x": None}),
        ({"op": "add", "path": "/l/01", "value": 2}, {"l": [1, 2]}),
        ({"op": "add", "path": "/l/-1", "value": 2}, {"l": [1, 2]}),
        ({"op": "remove", "path": "/l/-1"}, {"l": []}),
    ],
)
def test_json_patches_as_a_kube_apiserver_takes_them(operation: Any, expected: Any) -> None:
    assert json_patch({"l": [1]}, [operation]) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/l/3", "value": 1},
        {"op": "add", "path": "/l/٣", "value": 1},
        {"op": "remove", "path": "/l/-"},
        {"op": "remove", "path": ""},
        {"op": "add", "path": "/none/deeper", "value": 1},
        {"op": "test", "path": "/t", "value": 1},
        {"op": "move", "from": "/l", "path": "/l/0"},
    ],
)
def test_json_patches_that_do_not_apply(operation: Any) -> None:
    with pytest.raises(Invalid):
        json_patch({"l": [1, 2], "t": True}, [operation])


def test_a_copied_value_is_not_shared() -> None:
    patched = json_patch(
        {"a": {"x": 1}},
        [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "replace", "path": "/b/x", "value": 2}],
    )
    assert patched == {"a": {"x": 1}, "b": {"x": 2}}


def test_copying_cannot_explode() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(64)]
    with pytest.raises(RequestEntityTooLarge):
        json_patch({"a": {"x": "y" * 100}}, doubling)
    with pytest.raises(RequestEntityTooLarge):
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)


def test_depth_without_end_is_refused() -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = {"a": deep}
    for type_ in (PatchType.MERGE, PatchType.STRATEGIC):
        with pytest.raises(BadRequest):
            apply_patch(CONFIG_MAPS, {}, type_, deep)


@given(OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once(target: Any, patch: Any) -> None:
    before = copy.deepcopy(target)
    once = merge_patch(target, patch)
    assert target == before
    assert merge_patch(once, patch) == once


@given(OBJECTS, st.lists(OPERATIONS, max_size=5))
@settings(max_examples=100)
def test_a_json_patch_ends_in_json_or_in_an_error_of_ours(target: Any, operations: list[Any]) -> None:
    try:
        patched = json_patch(target, operations)
    except (BadRequest, Invalid, RequestEntityTooLarge):
        return
    assert isinstance(patched, dict)
    orjson.dumps(patched)


@given(OBJECTS, OBJECTS)
@settings(max_examples=100)
def test_a_strategic_patch_ends_in_json_or_in_an_error_of_ours(target: Any, patch: Any) -> None:
    try:
        orjson.dumps(strategic.merge(target, patch))
    except BadRequest:
        return


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        pytest.param(
            {"conditions": [{"type": "A", "status": "True", "n": 1}, {"type": "B"}]},
            {"conditions": [{"type": "A", "status": "False"}, {"type": "C"}]},
            {"conditions": [{"type": "A", "status": "False", "n": 1}, {"type": "C"}, {"type": "B"}]},
            id="lists merge by their key",
        ),
        pytest.param(
            {"ports": [{"port": 80}, {"port": 443}]},
            {"ports": [{"port": 80, "$patch": "delete"}]},
            {"ports": [{"port": 443}]},
            id="an item is deleted by its key",
        ),
        pytest.param(
            {"ports": [{"port": 80}, {"port": 443}]},
            {"ports": [{"$patch": "replace"}, {"port": 1}]},
            {"ports": [{"port": 1}]},
            id="a list is replaced when asked",
        ),
        pytest.param(
            {"finalizers": ["a", "b"]}, {"finalizers": ["b", "c"]}, {"finalizers": ["a", "b", "c"]}, id="sets join"
        ),
        pytest.param(
            {"finalizers": ["a", "b"]},
            {"$deleteFromPrimitiveList/finalizers": ["a"]},
            {"finalizers": ["b"]},
            id="values leave a set",
        ),
        pytest.param({"other": [1, 2]}, {"other": [3]}, {"other": [3]}, id="other lists are replaced"),
        pytest.param(
            {"spec": {"a": 1, "b": 2}}, {"spec": {"$patch": "replace", "c": 3}}, {"spec": {"c": 3}}, id="replace"
        ),
        pytest.param({"spec": {"a": 1}}, {"spec": {"$patch": "delete"}}, {"spec": {}}, id="delete"),
        pytest.param(
            {"s": {"type": "x", "old": 1}},
            {"s": {"$retainKeys": ["type", "new"], "type": "y", "new": 2}},
            {"s": {"type": "y", "new": 2}},
            id="only retained keys stay",
        ),
        pytest.param(
            {"ports": [{"port": 1}, {"port": 2}]},
            {"$setElementOrder/ports": [{"port": 3}, {"port": 1}], "ports": [{"port": 3}]},
            {"ports": [{"port": 3}, {"port": 1}, {"port": 2}]},
            id="the order is as asked",
        ),
        pytest.param({"data": {"a": "1"}}, {"data": {"a": None, "b": "2"}}, {"data": {"b": "2"}}, id="maps"),
    ],
)
def test_strategic_merge(target: Any, patch: Any, expected: Any) -> None:
    assert strategic.merge(target, patch) == expected


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "explode"},
        {"ports": [{"name": "x"}]},
        {"$setElementOrder/ports": 3},
        {"$retainKeys": ["a"], "b": 1},
    ],
)
def test_strategic_directives_without_sense_are_refused(patch: Any) -> None:
    with pytest.raises(BadRequest):
        strategic.merge({"ports": []}, patch)
