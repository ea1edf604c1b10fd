"""Bodies and options: what comes from outside is judged before anything else looks at it."""

from __future__ import annotations

import orjson
import pytest

from hyperd.api.wire import bodies, options
from hyperd.api.wire.query import EMPTY, Query
from hyperd.errors import BadRequest, Invalid, UnsupportedMediaType
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.interface import Propagation

KIND = Kind("g.io", "v1", "Thing", "things", "thing", True)


async def _parse(body: bytes, content_type: str = "application/json") -> tuple[Object, list[str]]:
    return await bodies.parse_object(body, content_type, protobuf_allowed=False)


async def test_duplicate_keys_are_found_with_their_paths() -> None:
    _, duplicates = await _parse(b'{"a": {"b": 1, "b": 2}, "c": [{"d": 1, "d": 1}], "a": {}}')
    assert duplicates == ["a.b", "c[0].d", "a"]


async def test_yaml_keys_are_text() -> None:
    value, _ = await _parse(b"8080: a\ntrue: b\n1.5: c\n", "application/yaml")
    assert value == {"8080": "a", "true": "b", "1.5": "c"}


async def test_yaml_is_accepted_with_times_as_text() -> None:
    value, duplicates = await _parse(b"a: 2024-01-01\nb: [1, true]\nb: x\n", "application/yaml")
    assert value == {"a": "2024-01-01", "b": "x"}
    assert duplicates == ["b"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "needs a body"),
        (b"[1]", "must be an object, not an array"),
        (b'"x"', "must be an object, not a string"),
        (b"null", "must be an object, not null"),
        (b"3", "must be an object, not a number"),
        (b"{", "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested too deeply"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
async def test_a_json_body_that_is_no_object_is_refused_with_the_reason(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        await _parse(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"a: &x 1\nb: *x\n", "aliases"),
        (b"a: [", "not valid YAML"),
        (b"!!python/object:os.system x", "not valid YAML"),
        (b"- 1\n", "must be an object"),
        (b"? [a]\n: x\n", "not valid YAML"),
        (b"a: .nan\n---\nb: 1\n", "not valid YAML"),
    ],
)
async def test_a_yaml_body_that_is_no_object_is_refused_with_the_reason(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        await _parse(body, "application/yaml")


@pytest.mark.parametrize("content_type", ["text/html", "application/vnd.kubernetes.protobuf", "image/png"])
async def test_other_types_are_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        await _parse(b"{}", content_type)


@pytest.mark.parametrize("value", ["1", "t", "T", "true", "True", "TRUE", ""])
def test_booleans_are_read_as_go_reads_them(value: str) -> None:
    assert Query(f"watch={value}").flag("watch")


def test_what_is_no_boolean_is_refused() -> None:
    assert not Query("watch=False").flag("watch")
    assert not Query("").flag("watch")
    with pytest.raises(BadRequest, match='watch: "maybe"'):
        Query("watch=maybe").flag("watch")


def test_only_a_full_dry_run_is_known() -> None:
    assert options.write_options("CreateOptions", Query("dryRun=All")).dry_run
    assert not options.write_options("CreateOptions", EMPTY).dry_run
    with pytest.raises(Invalid, match=r'CreateOptions\.meta\.k8s\.io "" is invalid: dryRun: Unsupported value'):
        options.write_options("CreateOptions", Query("dryRun=All&dryRun=Some"))


@pytest.mark.parametrize(
    "query",
    [
        "limit=",
        "limit=x",
        "limit=9223372036854775808",
        "limit=%zz",
        "labelSelector=%4",
        "continue=x&resourceVersion=1",
        "resourceVersion=18446744073709551616",
        "timeoutSeconds=1.5",
        "resourceVersion=abc",
        "labelSelector=a%3Db%3Dc",
        "fieldSelector=spec.x%3D1",
        "watch=2",
        "watch=yes",
        "&".join(f"a{i}=1" for i in range(100)),
    ],
)
def test_options_that_are_not_understood_are_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        options.list_options(KIND, Query(query))


@pytest.mark.parametrize(
    "query",
    [
        "resourceVersionMatch=Latest&resourceVersion=1",
        "watch=1&continue=x",
        "watch=1&resourceVersionMatch=NotOlderThan",
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "resourceVersionMatch=Exact&resourceVersion=1&continue=x",
        "sendInitialEvents=true",
        "watch=1&sendInitialEvents=true",
        "watch=1&resourceVersionMatch=Exact&resourceVersion=1",
    ],
)
def test_options_that_exclude_each_other_are_invalid(query: str) -> None:
    with pytest.raises(Invalid):
        options.list_options(KIND, Query(query))


def test_delete_options_come_from_the_body_or_the_query() -> None:
    empty = options.delete_options(EMPTY, {})
    assert empty.propagation is Propagation.BACKGROUND
    query = Query("propagationPolicy=Orphan&dryRun=All")
    assert options.delete_options(query, {}).propagation is Propagation.ORPHAN
    assert options.delete_options(query, {}).dry_run
    body = {"kind": "DeleteOptions", "preconditions": {"uid": "u"}, "orphanDependents": True}
    assert options.delete_options(EMPTY, body).preconditions.uid == "u"
    assert options.delete_options(EMPTY, body).propagation is Propagation.ORPHAN


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "VirtualMachine"},
        {"propagationPolicy": 1},
        {"gracePeriodSeconds": "0"},
        {"orphanDependents": "yes"},
        {"preconditions": {"uid": 1}},
        {"dryRun": "All"},
        {"preconditions": []},
    ],
)
def test_delete_options_that_are_not_understood_are_refused(body: Object) -> None:
    with pytest.raises(BadRequest):
        options.delete_options(EMPTY, body)


@pytest.mark.parametrize(
    "body",
    [
        {"propagationPolicy": "Later"},
        {"propagationPolicy": ""},
        {"dryRun": ["Half"]},
        {"propagationPolicy": "Orphan", "orphanDependents": False},
    ],
)
def test_delete_options_that_mean_nothing_are_invalid(body: Object) -> None:
    with pytest.raises(Invalid, match=r'DeleteOptions\.meta\.k8s\.io "" is invalid'):
        options.delete_options(EMPTY, body)


async def test_a_large_body_is_judged_like_a_small_one() -> None:
    body = orjson.dumps({"a": ["x" * 100] * 2000})[:-1] + b',"a":1}'
    assert (await _parse(body))[1] == ["a"]
