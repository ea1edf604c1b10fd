"""Names, labels and annotations keep Kubernetes' rules, with its words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.resources.all import NAMESPACE, SERVICE, VIRTUAL_DISK
from hyperd.resources.schema.metadata import check_metadata, name_faults, prune_metadata
from hyperd.resources.values.meta import go_duration


def messages(metadata: Any) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in check_metadata(VIRTUAL_DISK, {"metadata": metadata})]


def test_good_metadata_passes() -> None:
    good = {
        "name": "a.b-c",
        "labels": {"app": "", "example.com/Tier_1": "v1.2"},
        "annotations": {"Example.com/note": "any\ntext"},
        "finalizers": ["example.com/keep", "orphan"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": True}],
    }
    assert messages(good) == []


@pytest.mark.parametrize("name", ["A", "-a", "a-", "a..b", "a_b", "a/b", "../x", "a\n", "ä", "a" * 254])
def test_a_bad_name_is_refused(name: str) -> None:
    assert any(message.startswith("metadata.name: Invalid value: ") for message in messages({"name": name}))


def test_the_sentence_is_kubernetes() -> None:
    assert messages({"name": "Web"}) == [
        'metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain must consist of lower case '
        "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
        "'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]


def test_a_name_is_required() -> None:
    assert messages({}) == ["metadata.name: Required value: name or generateName is required"]
    assert messages(None) == ["metadata: Required value"]


def test_a_prefix_may_end_with_a_dash() -> None:
    assert messages({"name": "web-x7", "generateName": "web-"}) == []
    assert messages({"name": "web-x7", "generateName": "Web-"})[0].startswith("metadata.generateName: ")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"": "v"}, "name part must be non-empty"),
        ({"a b": "v"}, "name part must consist of"),
        ({"/a": "v"}, "prefix part must be non-empty"),
        ({"UPPER.com/a": "v"}, "prefix part a lowercase RFC 1123 subdomain"),
        ({"a" * 64: "v"}, "name part must be no more than 63 bytes"),
        ({"a": "b c"}, "a valid label must be an empty string or consist of"),
        ({"a": "b" * 64}, "must be no more than 63 bytes"),
        ({"a": 1}, "must be of type string"),
        ([], ""),
        ("x", "must be of type object"),
    ],
)
def test_bad_labels_are_refused(labels: Any, text: str) -> None:
    found = messages({"name": "a", "labels": labels})
    assert (text in found[0]) if text else not found


def test_annotations_are_limited_in_total() -> None:
    assert messages({"name": "a", "annotations": {"a": "x" * (256 << 10)}}) == [
        "metadata.annotations: Too long: may not be more than 262144 bytes"
    ]


def test_finalizers_are_qualified() -> None:
    assert (
        "neither a standard finalizer name nor is it fully qualified"
        in messages({"name": "a", "finalizers": ["mine"]})[0]
    )


def test_an_owner_is_named_whole_and_one_controls() -> None:
    owner = {"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": True}
    assert messages({"name": "a", "ownerReferences": [{**owner, "uid": ""}]}) == [
        "metadata.ownerReferences[0].uid: Required value"
    ]
    assert "Only one reference" in messages({"name": "a", "ownerReferences": [owner, owner]})[0]


def test_namespaces_and_services_have_stricter_names() -> None:
    assert name_faults(NAMESPACE, "a.b")
    assert name_faults(SERVICE, "1a")
    assert not name_faults(NAMESPACE, "1a")
    assert not name_faults(VIRTUAL_DISK, "a.b")


def test_unknown_fields_of_metadata_are_dropped() -> None:
    metadata: dict[str, Any] = {"name": "a", "lables": {}, "managedFields": []}
    assert prune_metadata(metadata) == ["lables"]
    assert metadata == {"name": "a", "managedFields": []}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["name", "generateName", "labels", "annotations", "finalizers", "ownerReferences"]), JSON
    )
)
def test_no_metadata_makes_the_check_fail(metadata: dict[str, Any]) -> None:
    check_metadata(VIRTUAL_DISK, {"metadata": metadata})


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (5.9, "5s"), (65, "1m5s"), (3600, "1h0m0s"), (90061, "25h1m1s")]
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
