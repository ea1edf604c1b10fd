"""What ``hv`` reads of a manifest: whatever stands where, an object with a name or a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperd.cli.manifests import read
from hyperd.errors import BadRequest

ODD = ["x", "", 5, 0, 1.5, True, False, None, [], ["x"], {}, {"a": 1}, [[]], "2026-01-02"]
PLACES = [
    "",
    "apiVersion",
    "kind",
    "metadata",
    "items",
    *(f"metadata.{key}" for key in ("name", "namespace", "uid")),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["ConfigMap", "List"])
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_value_of_any_form_at_any_place_is_taken_or_told(
    tmp_path: Path, place: str, kind: str, form: str
) -> None:
    for value in ODD:
        document: object = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "items": []}
        outer, _, inner = place.partition(".")
        if not place:
            document = value
        else:
            assert isinstance(document, dict)
            document[outer] = {**document[outer], inner: value} if inner else value
        path = tmp_path / f"m.{form}"
        # Behind a comment it is read as YAML.
        path.write_text(("# yaml\n" if form == "yaml" else "") + json.dumps(document))
        try:
            found = read([str(path)])
        except BadRequest:
            continue
        for obj in (manifest.obj for manifest in found):
            names = [obj["metadata"].get(key) for key in ("name", "generateName", "namespace")]
            texts = [obj.get("apiVersion"), obj.get("kind"), *names]
            assert all(text is None or isinstance(text, str) for text in texts), (place, value)
            assert any(names)


def test_a_name_that_yaml_reads_as_a_number_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 5}\n")
    with pytest.raises(BadRequest, match=r"metadata\.name is a number, not text"):
        read([str(path)])


@pytest.mark.parametrize("content", ["[" * 10_000, '{"a":' * 2_000, "[" * 2_000 + "]" * 2_000, "- " * 2_000 + "a"])
def test_what_is_nested_too_deeply_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(content)
    with pytest.raises(BadRequest, match=r"nested too deeply"):
        read([str(path)])
