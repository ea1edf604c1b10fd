"""Sets of fields: an algebra that keeps its laws, in the form of the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.store.grammar.fields import sets

_ELEMENTS = st.sampled_from(("f:a", "f:b", 'k:{"port":80}', 'k:{"port":9}', 'v:"x"', "v:10", "v:9"))
_PATHS = st.lists(st.lists(_ELEMENTS, min_size=1, max_size=3).map(tuple), max_size=6)


def of(paths: Any) -> sets.Fields:
    made: sets.Fields = {}
    for path in paths:
        made = sets.union(made, sets.of_path(path))
    return made


@given(_PATHS, _PATHS)
def test_sets_are_sets_of_their_paths(left: Any, right: Any) -> None:
    one, other = of(left), of(right)
    assert set(sets.paths(one)) == set(left)
    assert set(sets.paths(sets.union(one, other))) == {*left, *right}
    assert set(sets.paths(sets.difference(one, other))) == {*left} - {*right}
    assert set(sets.paths(sets.intersection(one, other))) == {*left} & {*right}
    assert sets.difference(one, one) == {}
    assert sets.parse(sets.ordered(one)) == one
    assert all(sets.has(one, path) for path in left)


def test_a_field_that_is_owned_with_what_is_below_has_a_dot() -> None:
    labels = sets.union(sets.of_path(("f:labels",)), sets.of_path(("f:labels", "f:a")))
    assert labels == {"f:labels": {".": {}, "f:a": {}}}
    assert sets.difference(labels, sets.of_path(("f:labels", "f:a"))) == {"f:labels": {}}
    assert sets.difference(labels, sets.of_path(("f:labels",))) == {"f:labels": {"f:a": {}}}


def test_paths_come_in_the_order_of_the_wire_and_are_shown_as_kubernetes_shows_them() -> None:
    fields = of([("f:l", "v:10"), ("f:l", "v:9"), ("f:l", 'k:{"name":"a","port":80}', "f:x"), ("f:b",)])
    assert list(sets.ordered(fields)["f:l"]) == ['k:{"name":"a","port":80}', "v:9", "v:10"]
    shown = [sets.shown(path) for path in sets.paths(fields)]
    assert shown == [".b", ".l[=9]", ".l[=10]", '.l[name="a",port=80].x']


def test_elements_are_written_as_go_writes_them() -> None:
    assert sets.valued("<a&b>") == 'v:"\\u003ca\\u0026b\\u003e"'
    assert sets.valued(1.0) == "v:1"
    assert sets.keyed({"port": 80, "protocol": "TCP"}) == 'k:{"port":80,"protocol":"TCP"}'


def test_what_clients_write_otherwise_becomes_canonical() -> None:
    raw: Any = {"f:a": {'k:{"b": 1, "a": "x"}': {".": {}}, "z:new": {}}, ".": {}}
    assert sets.parse(raw) == {"f:a": {'k:{"a":"x","b":1}': {}}}


@pytest.mark.parametrize("raw", [[], "x", {"a": {}}, {"f:a": []}, {"k:[1]": {}}, {"v:x": {}}, {"i:x": {}}])
def test_what_is_no_set_is_refused(raw: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        sets.parse(raw)


def test_nesting_without_end_is_refused() -> None:
    raw: Any = {}
    for _ in range(500):
        raw = {"f:a": raw}
    with pytest.raises(ValueError, match="too deeply"):
        sets.parse(raw)
