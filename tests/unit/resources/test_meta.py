"""Metadata helpers change only what they say."""

from __future__ import annotations

from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta


def test_finalizers_are_added_once_and_removed_whole() -> None:
    obj: Object = {"metadata": {"name": "a"}}
    assert meta.add_finalizer(obj, "x/y")
    assert not meta.add_finalizer(obj, "x/y")
    assert obj["metadata"]["finalizers"] == ["x/y"]
    assert meta.remove_finalizer(obj, "x/y")
    assert not meta.remove_finalizer(obj, "x/y")
    assert obj == {"metadata": {"name": "a"}}


def test_an_owner_is_recognised_by_uid() -> None:
    owner: Object = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "o", "uid": "u"}}
    reference = meta.owner_reference(owner)
    assert reference["controller"] is True
    assert meta.is_owned_by({"metadata": {"ownerReferences": [reference]}}, "u")
    assert not meta.is_owned_by({"metadata": {}}, "u")


def test_a_key_reads_like_a_path() -> None:
    assert str(meta.key({"metadata": {"namespace": "n", "name": "a"}})) == "n/a"
    assert str(meta.key({"metadata": {"name": "a"}})) == "a"


def test_times_read_back() -> None:
    assert meta.parse_time(meta.now_rfc3339()).tzinfo is not None
    assert meta.parse_time("2026-01-01T02:00:00+02:00").isoformat() == "2026-01-01T00:00:00+00:00"


def test_missing_metadata_is_empty() -> None:
    assert meta.labels({}) == meta.annotations({"metadata": {"annotations": None}}) == {}
    assert meta.uid({}) == ""
    assert meta.generation({}) == 0
    assert not meta.is_deleting({"metadata": None})
