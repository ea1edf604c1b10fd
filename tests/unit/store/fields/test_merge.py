"""An applied configuration over what is there: order of lists, mixed values, owner references."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.resources.core import kinds as core
from hyperd.resources.schema.kind import Object
from hyperd.store.grammar.fields.apply import apply
from hyperd.store.grammar.fields.compare import compare
from hyperd.store.grammar.fields.merge import merged
from hyperd.store.grammar.fields.sets import paths, shown
from hyperd.store.grammar.fields.types import DEDUCED, compiled

SET = compiled({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"})


@pytest.mark.parametrize(
    ("live", "applied", "expected"),
    [
        ("abc", "", "abc"),
        ("", "ab", "ab"),
        ("abc", "cb", "acb"),
        ("abc", "dac", "dabc"),
        ("abcd", "dx", "abcdx"),
        ("ab", "xayb", "xayb"),
        ("axb", "bya", "xbya"),
    ],
)
def test_items_keep_the_order_of_the_applier(live: str, applied: str, expected: str) -> None:
    assert merged(SET, [*live], [*applied]) == [*expected]


def service(**spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}


def test_ports_are_told_apart_by_number_and_protocol() -> None:
    obj = apply(core.SERVICE, None, service(ports=[{"port": 53}], selector={"a": "1"}), manager="one")
    more = service(ports=[{"port": 53, "protocol": "UDP"}, {"port": 53, "name": "dns"}])
    obj = apply(core.SERVICE, obj, more, manager="two")
    assert sorted(obj["spec"]["ports"], key=str) == [{"port": 53, "name": "dns"}, {"port": 53, "protocol": "UDP"}]
    entries = {entry["manager"]: entry["fieldsV1"]["f:spec"] for entry in obj["metadata"]["managedFields"]}
    assert entries["one"]["f:selector"] == {}
    assert entries["two"]["f:ports"]['k:{"port":53,"protocol":"TCP"}'] == {".": {}, "f:name": {}, "f:port": {}}


def test_an_owner_reference_is_one_field() -> None:
    def owned(*uids: str, name: str = "n") -> Object:
        refs = [{"apiVersion": "v1", "kind": "K", "name": name, "uid": uid} for uid in uids]
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "ownerReferences": refs}}

    obj = apply(core.CONFIG_MAP, None, owned("u"), manager="one")
    obj = apply(core.CONFIG_MAP, obj, owned("v"), manager="two")
    assert [ref["uid"] for ref in obj["metadata"]["ownerReferences"]] == ["u", "v"]
    entry = next(one for one in obj["metadata"]["managedFields"] if one["manager"] == "two")
    assert entry["fieldsV1"] == {"f:metadata": {"f:ownerReferences": {'k:{"uid":"v"}': {}}}}


@pytest.mark.parametrize(
    ("old", "new", "added", "modified", "removed"),
    [
        ({"a": 1}, {"a": 1.0}, [], [], []),
        ({"a": True}, {"a": 2}, [], [".a"], []),
        ({"a": 1}, {"a": {"b": 1}}, [".a.b"], [".a"], []),
        ({"a": {"b": 1}}, {"a": [1]}, [], [".a"], [".a.b"]),
        ({"a": None}, {"a": {}}, [], [".a"], []),
        ({}, {"a": {"b": {}}}, [".a", ".a.b"], [], []),
        ({"a": {}}, {}, [], [], [".a"]),
    ],
)
def test_differences_are_told_field_by_field(
    old: Object, new: Object, added: list[str], modified: list[str], removed: list[str]
) -> None:
    found = compare(DEDUCED, old, new)
    assert [sorted(shown(path) for path in paths(part)) for part in found] == [added, modified, removed]


def test_what_nobody_owns_goes_with_the_map_that_is_left_out() -> None:
    config: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    obj = apply(core.CONFIG_MAP, None, {**config, "data": {"a": "1"}}, manager="one")
    # As an admission rule would: in nobody's name.
    obj["data"]["b"] = "2"
    assert "data" not in apply(core.CONFIG_MAP, obj, config, manager="one")
