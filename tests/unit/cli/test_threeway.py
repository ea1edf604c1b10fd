"""apply's merge: the manifest's fields are the manifest's, all others are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.cli.threeway import LAST_APPLIED, annotated, last_applied, merge_patch


@pytest.mark.parametrize(
    ("last", "new", "live", "patch"),
    [
        ({"a": 1}, {"a": 1}, {"a": 1, "b": 2}, {}),
        ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": 2}, {"b": None}),
        ({"a": 1, "b": 2}, {"a": 1}, {"a": 1}, {}),
        ({}, {"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}, {}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 3}}, {"a": {"x": 1, "y": 2}}, {"a": {"x": 3, "y": None}}),
        ({"l": [1, 2]}, {"l": [2]}, {"l": [1, 2]}, {"l": [2]}),
        ({"a": {"x": 1}}, {"a": 5}, {"a": {"x": 1}}, {"a": 5}),
        ({}, {"a": None}, {"a": 1}, {"a": None}),
        ({}, {"a": None}, {}, {}),
    ],
    ids=range(10),
)
def test_only_what_differs_is_in_the_patch(
    last: dict[str, Any], new: dict[str, Any], live: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert merge_patch(last, new, live) == patch


def test_the_manifest_is_remembered_where_kubectl_looks() -> None:
    manifest = {"kind": "VirtualMachine", "metadata": {"name": "a"}, "spec": {"x": 1}}
    stored = annotated(manifest)
    assert last_applied(stored) == {**manifest, "metadata": {"name": "a", "annotations": {}}}
    assert "annotations" not in manifest["metadata"]


def test_a_secret_is_not_copied_into_an_annotation() -> None:
    stored = annotated({"kind": "Secret", "metadata": {"name": "a"}, "stringData": {"password": "x"}})
    assert LAST_APPLIED not in str(stored)


def test_a_broken_memory_counts_as_none() -> None:
    assert last_applied({"metadata": {"annotations": {LAST_APPLIED: "{"}}}) == {}
