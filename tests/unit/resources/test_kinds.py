"""What holds for every kind: structural, documented, and true to what it declares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]

from hyperd.resources.all import KINDS, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Kind
from hyperd.resources.schema.structural import subschema, values_at
from hyperd.resources.schema.unbuilt import refused_in, unbuilt_in
from tests.unit.resources.samples import example, examples, machine
from tests.unit.resources.structural_rules import faults

OURS = [kind for kind in KINDS if not kind.core]
by_kind = pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.kind)
every_kind = pytest.mark.parametrize("kind", list(KINDS), ids=lambda kind: kind.kind)


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below ``schema`` with its path."""
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, child
        yield from fields(child, here)
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


@by_kind
def test_the_schema_is_structural(kind: Kind) -> None:
    assert faults(kind.schema) == []


@every_kind
def test_the_schema_is_json_schema(kind: Kind) -> None:
    Draft4Validator.check_schema(kind.schema)


@every_kind
def test_every_field_is_documented(kind: Kind) -> None:
    undocumented = [
        path
        for path, node in fields(kind.schema)
        if path != "metadata" and not node.get("description", "").strip()
    ]
    assert undocumented == []
    assert kind.schema["description"].endswith(".")


@by_kind
def test_every_field_says_what_it_is_in_a_sentence(kind: Kind) -> None:
    assert [
        path for path, node in fields(kind.schema) if path != "metadata" and node["description"][-1] != "."
    ] == []


@by_kind
def test_fields_go_by_their_wire_names(kind: Kind) -> None:
    assert [path for path, _ in fields(kind.schema) if not re.fullmatch(r"[a-zA-Z0-9.\[\]]+", path)] == []


@by_kind
def test_what_is_not_built_names_fields_that_exist(kind: Kind) -> None:
    for key, sentence in {**kind.unbuilt, **kind.refused}.items():
        path, equals, value = key.partition("=")
        node = subschema(kind.schema, path)
        assert node is not None, key
        assert not equals or value in node.get("enum", [value]), key
        assert sentence.endswith("."), key


@by_kind
def test_columns_point_at_fields_that_exist(kind: Kind) -> None:
    for column in kind.columns:
        assert column.cell is None, "a CRD cannot carry code"
        assert column.description, column.name
        path = re.sub(r"\[\?\([^)]*\)\]", "[]", column.json_path.lstrip("."))
        if not path.startswith("metadata."):
            assert subschema(kind.schema, path) is not None, column.json_path


@by_kind
def test_the_last_column_is_the_age(kind: Kind) -> None:
    assert (kind.columns[-1].name.title(), kind.columns[-1].type) == ("Age", "date")


@by_kind
def test_rules_hang_at_fields_that_exist_and_have_a_message(kind: Kind) -> None:
    for rule in kind.validations:
        node = subschema(kind.schema, rule.path)
        assert node is not None
        assert {"rule": rule.cel, "message": rule.message} in node["x-kubernetes-validations"]
        assert ("oldSelf" in rule.cel) == rule.transition


CEL_RESERVED = {"namespace", "in", "as", "for", "if", "import", "package", "return", "let", "var", "const"}


@by_kind
def test_the_cel_text_of_a_rule_names_fields_that_exist(kind: Kind) -> None:
    for rule in kind.validations:
        assert rule.cel.count("(") == rule.cel.count(")")
        for chain in re.findall(r"\bself((?:\.[A-Za-z_]+\b(?!\())+)", rule.cel):
            names = chain.removeprefix(".").split(".")
            assert not CEL_RESERVED & set(names), f"{rule.cel}: a reserved word is escaped as __word__"
            path = ".".join(name.removeprefix("__").removesuffix("__") for name in names)
            assert subschema(kind.schema, f"{rule.path}.{path}") is not None, rule.cel


def test_names_are_unique_words() -> None:
    words = [word for kind in KINDS for word in {kind.plural, kind.singular, *kind.short_names}]
    assert len(words) == len(set(words))


def test_a_resource_is_found_by_plural_and_by_kind() -> None:
    assert KINDS.by_resource(VIRTUAL_MACHINE.group, "virtualmachines") is VIRTUAL_MACHINE
    assert KINDS.by_kind(VIRTUAL_MACHINE.group, "VirtualMachine") is VIRTUAL_MACHINE
    assert KINDS.by_kind("", "VirtualMachine") is None


def test_what_an_object_asks_for_and_does_not_get_is_listed_once_a_field() -> None:
    obj = example("VirtualMachine", "everything")
    assert [found.field for found in unbuilt_in(VIRTUAL_MACHINE, obj)] == [
        "spec.networks[1].type",
        "spec.affinity.virtualMachineAndPodAntiAffinity",
        "spec.topologySpreadConstraints",
        "spec.priorityClassName",
        "spec.liveMigrationPolicy",
    ]
    assert unbuilt_in(VIRTUAL_MACHINE, machine()) == []


def test_empty_values_ask_for_nothing() -> None:
    obj = machine()
    obj["spec"].update(tolerations=[], priorityClassName="")
    assert unbuilt_in(VIRTUAL_MACHINE, obj) == []


def test_automatic_core_fractions_are_refused() -> None:
    obj = machine()
    obj["spec"]["cpu"]["coreFraction"] = "Auto"
    assert [found.field for found in refused_in(VIRTUAL_MACHINE, obj)] == ["spec.cpu.coreFraction"]


def test_values_are_found_with_their_concrete_paths() -> None:
    obj = {"a": {"list": [{"b": 1}, {}, {"b": None}, {"b": 2}]}}
    assert list(values_at(obj, "a.list[].b")) == [("a.list[0].b", 1), ("a.list[3].b", 2)]
    assert list(values_at({"a": "text"}, "a.list[].b")) == []


@by_kind
def test_a_view_reads_every_example(kind: Kind) -> None:
    assert kind.model is not None
    for obj in examples():
        if obj["kind"] == kind.kind:
            obj["status"] = {"phase": None, "somethingNewer": {"a": 1}}
            obj["metadata"]["uid"] = "u"
            view = kind.model.model_validate(obj)
            assert view.metadata.uid == "u"  # type: ignore[attr-defined]
