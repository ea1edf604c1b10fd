"""A class says the same in both its versions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator  # type: ignore[import-untyped]

from hyperd.errors import BadRequest
from hyperd.resources.all import KINDS, VIRTUAL_MACHINE_CLASS, VIRTUAL_MACHINE_CLASS_V1ALPHA3
from hyperd.resources.conversion import convert, versions
from hyperd.resources.crd import crd
from hyperd.resources.schema.kind import Object, version_rank
from hyperd.resources.schema.structural import prune, validate
from tests.unit.resources.structural_rules import faults
from tests.unit.resources.test_structural_properties import ANY_JSON

OLD, NEW = VIRTUAL_MACHINE_CLASS.api_version, VIRTUAL_MACHINE_CLASS_V1ALPHA3.api_version


def policies(fraction: st.SearchStrategy[Any], default: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries(
        {"cores": st.just({"min": 1, "max": 4})},
        optional={
            "coreFractions": st.lists(fraction, max_size=4),
            "defaultCoreFraction": default,
            "dedicatedCores": st.lists(st.booleans(), max_size=2),
        },
    )


def classes(api_version: str, policy: st.SearchStrategy[Object]) -> st.SearchStrategy[Object]:
    spec = {"cpu": st.just({"type": "Host"}), "sizingPolicies": st.lists(policy, max_size=3)}
    return st.builds(
        lambda spec: {
            "apiVersion": api_version,
            "kind": "VirtualMachineClass",
            "metadata": {"name": "c", "labels": {"a": "b"}},
            "spec": spec,
            "status": {"phase": "Ready"},
        },
        st.fixed_dictionaries(spec),
    )


NUMBER = st.integers(1, 100)
PERCENT = NUMBER.map(lambda number: f"{number}%")


@given(classes(OLD, policies(NUMBER, NUMBER | st.just("Auto"))))
def test_an_old_class_comes_back_from_the_new_version(obj: Object) -> None:
    before = copy.deepcopy(obj)
    new = convert(obj, NEW)
    assert obj == before, "the given object is left alone"
    assert validate(VIRTUAL_MACHINE_CLASS_V1ALPHA3.schema, new) == []
    assert prune(VIRTUAL_MACHINE_CLASS_V1ALPHA3.schema, copy.deepcopy(new)) == []
    assert convert(new, OLD) == before


@given(classes(NEW, policies(PERCENT, PERCENT | st.just("Auto"))))
def test_a_new_class_comes_back_from_the_old_version(obj: Object) -> None:
    old = convert(obj, OLD)
    assert validate(VIRTUAL_MACHINE_CLASS.schema, old) == []
    assert convert(old, NEW) == obj


@given(st.sampled_from([OLD, NEW]), ANY_JSON)
def test_what_is_no_class_is_converted_as_far_as_it_goes(version: str, spec: Any) -> None:
    obj = {"apiVersion": version, "kind": "VirtualMachineClass", "metadata": {}, "spec": spec}
    other = NEW if version == OLD else OLD
    assert convert(convert(obj, other), version)["metadata"] == {}


def test_fractions_are_spelt_with_a_percent_sign() -> None:
    spec = {
        "sizingPolicies": [{"coreFractions": [5, 100], "defaultCoreFraction": 5}, {"defaultCoreFraction": "Auto"}]
    }
    new = convert({"apiVersion": OLD, "kind": "VirtualMachineClass", "spec": spec}, NEW)
    assert new["apiVersion"] == NEW
    assert new["spec"]["sizingPolicies"] == [
        {"coreFractions": ["5%", "100%"], "defaultCoreFraction": "5%"},
        {"defaultCoreFraction": "Auto"},
    ]


@pytest.mark.parametrize(
    ("obj", "version"),
    [
        ({"apiVersion": OLD, "kind": "VirtualMachineClass"}, "virtualization.deckhouse.io/v1"),
        ({"apiVersion": "virtualization.deckhouse.io/v1", "kind": "VirtualMachineClass"}, OLD),
        ({"apiVersion": OLD, "kind": "VirtualMachine"}, NEW),
        ({"apiVersion": OLD, "kind": "Nothing"}, NEW),
        ({}, NEW),
    ],
)
def test_a_version_that_is_not_served_is_refused(obj: Object, version: str) -> None:
    with pytest.raises(BadRequest, match="cannot convert"):
        convert(obj, version)


def test_the_new_schema_is_structural() -> None:
    schema = VIRTUAL_MACHINE_CLASS_V1ALPHA3.schema
    assert faults(schema) == []
    Draft4Validator.check_schema(schema)
    policy = schema["properties"]["spec"]["properties"]["sizingPolicies"]["items"]["properties"]
    assert policy["coreFractions"]["items"] == {"type": "string", "pattern": "^(100|[1-9][0-9]?)%$"}


def test_the_crd_has_both_versions_and_who_converts() -> None:
    spec = crd(VIRTUAL_MACHINE_CLASS)["spec"]
    shown = [
        (version["name"], version["served"], version["storage"], version.get("deprecated", False))
        for version in spec["versions"]
    ]
    assert shown == [("v1alpha2", True, True, True), ("v1alpha3", True, False, False)]
    assert spec["conversion"]["strategy"] == "Webhook"


def test_a_kind_is_found_in_each_of_its_versions() -> None:
    group, plural = VIRTUAL_MACHINE_CLASS.group, VIRTUAL_MACHINE_CLASS.plural
    assert KINDS.in_version(group, plural, "v1alpha2") is VIRTUAL_MACHINE_CLASS
    assert KINDS.in_version(group, plural, "v1alpha3") is VIRTUAL_MACHINE_CLASS_V1ALPHA3
    assert KINDS.in_version(group, plural, "v1") is None
    assert KINDS.in_version(group, "virtualmachines", "v1alpha3") is None
    assert versions(VIRTUAL_MACHINE_CLASS) == [OLD, NEW]
    assert len(list(KINDS.served())) == len(list(KINDS)) + 2, "a class in another version, Events in another group"


def test_versions_are_preferred_as_kubernetes_prefers_them() -> None:
    ranked = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1"]
    assert sorted(ranked, key=version_rank, reverse=True) == ranked
