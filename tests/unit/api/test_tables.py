"""Printer columns: JSONPath, ages, and the forms kubectl asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from hyperd.api.wire import tables
from hyperd.api.wire.negotiate import Accepted, Form, negotiate
from hyperd.api.wire.tables import Formatter, IncludeObject, human_duration
from hyperd.errors import BadRequest, NotAcceptable
from hyperd.resources.schema.kind import Column, Kind
from hyperd.resources.values import jsonpath
from hyperd.store.interface import Item

OBJECT: dict[str, Any] = {
    "metadata": {"name": "a", "namespace": "n", "labels": {"x.io/y": "z"}, "resourceVersion": "7"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}], "n": 3},
    "spec": {"disks": [{"name": "root", "mounted": True}, {"name": "data", "mounted": False, "index": 2}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".metadata.name", ["a"]),
        ("{.metadata.name}", ["a"]),
        (r".metadata.labels.x\.io/y", ["z"]),
        (".metadata.labels['x.io/y']", ["z"]),
        (".status.conditions[0].type", ["Ready"]),
        (".status.conditions[-1].type", ["Other"]),
        (".status.conditions[*].type", ["Ready", "Other"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        ("""$.status.conditions[?(@.type != 'Ready')].status""".removeprefix("$"), ["False"]),
        (".status.conditions[?(@.index==2)].type", []),
        (".spec.disks[?(@.mounted==true)].name", ["root"]),
        (".spec.disks[?(@.mounted!=true)].name", ["data"]),
        (".spec.disks[?(@.index==2)].name", ["data"]),
        (".status.nothing.more", []),
        (".metadata.name.more", []),
    ],
)
def test_a_json_path_finds_what_kubectl_finds(path: str, found: list[Any]) -> None:
    assert jsonpath.find(path, OBJECT) == found


def test_a_json_path_outside_the_dialect_is_an_error() -> None:
    with pytest.raises(ValueError, match="not understood"):
        jsonpath.find(".a[?(@.b>3)]", OBJECT)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-0.5, "0s"),
        (5, "5s"),
        (119, "119s"),
        (120, "2m"),
        (312, "5m12s"),
        (3600, "60m"),
        (10800, "3h"),
        (11040, "3h4m"),
        (86400, "24h"),
        (200000, "2d7h"),
        (864000, "10d"),
        (86400 * 800, "2y70d"),
        (86400 * 365 * 9, "9y"),
    ],
)
def test_an_age_has_at_most_two_units(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def _kind() -> Kind:
    columns = (
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("N", ".status.n", type="integer"),
        Column("Labels", ".metadata.labels", priority=1),
        Column("Missing", ".spec.nothing"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
    )
    return Kind("g.io", "v1", "Thing", "things", "thing", True, columns=columns)


def _item(age: timedelta) -> Item:
    created = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Item.of({**OBJECT, "metadata": {**OBJECT["metadata"], "creationTimestamp": created}})


def test_a_table_has_the_name_first_and_typed_cells() -> None:
    formatter = Formatter(_kind(), Accepted(form=Form.TABLE, version="v1"), IncludeObject.METADATA)
    head, tail = formatter.head({"resourceVersion": "9"})
    table = orjson.loads(head + formatter.entry(_item(timedelta(hours=30))) + tail)
    assert [column["name"] for column in table["columnDefinitions"]] == [
        "Name",
        "Ready",
        "N",
        "Labels",
        "Missing",
        "Age",
    ]
    assert table["rows"][0]["cells"] == ["a", "True", 3, '{"x.io/y":"z"}', None, "30h"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["metadata"] == {"resourceVersion": "9"}


def test_a_watched_table_names_its_columns_once() -> None:
    formatter = Formatter(_kind(), Accepted(form=Form.TABLE, version="v1"), IncludeObject.NONE)
    first, second = (orjson.loads(formatter.event(_item(timedelta()))) for _ in range(2))
    assert first["columnDefinitions"]
    assert second["columnDefinitions"] is None
    assert "object" not in second["rows"][0]


def test_a_kind_without_columns_shows_name_and_age() -> None:
    kind = Kind("g.io", "v1", "Thing", "things", "thing", True)
    assert [column.name for column in tables.columns_of(kind)] == ["Name", "Age"]


def test_an_unknown_include_object_is_refused() -> None:
    with pytest.raises(BadRequest, match="includeObject"):
        tables.include_object("All")


KUBECTL_GET = ",".join(
    [
        *(f"application/json;as=Table;v={version};g=meta.k8s.io" for version in ("v1", "v1beta1")),
        "application/json",
    ]
)
TABLES = frozenset({Form.TABLE})


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Accepted()),
        ("*/*", Accepted()),
        (KUBECTL_GET, Accepted(form=Form.TABLE, version="v1")),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json", Accepted()),
        ("application/vnd.kubernetes.protobuf,application/json", Accepted()),
        ("application/vnd.kubernetes.protobuf", Accepted("application/vnd.kubernetes.protobuf")),
        ("application/json;q=0.2, application/yaml", Accepted("application/yaml")),
        ("application/problem+json, application/json", Accepted()),
    ],
)
def test_accept_decides_the_form(header: str, expected: Accepted) -> None:
    assert negotiate(header, TABLES, protobuf=True) == expected


@pytest.mark.parametrize("header", ["text/html", "application/json;q=0", "application/vnd.kubernetes.protobuf"])
def test_what_cannot_be_served_is_not_acceptable(header: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json"):
        negotiate(header, TABLES)
