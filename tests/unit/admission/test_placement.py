"""Where a machine wants to be means something, or is refused as a kube-apiserver refuses it of a Pod."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.resources.schema.kind import Object
from tests.unit.admission.test_virtual_machine import world
from tests.unit.admission.world import World, changed, make, stored, told
from tests.unit.resources.samples import machine

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NODE = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
NEAR = f"spec.affinity.virtualMachineAndPodAffinity.{REQUIRED}[0]"


def on_node(*expressions: Object, fields: object = ()) -> Object:
    term = {"matchExpressions": list(expressions), "matchFields": list(fields)}  # type: ignore[call-overload]
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}}


def near(**term: object) -> Object:
    return {"affinity": {"virtualMachineAndPodAffinity": {REQUIRED: [{"topologyKey": "zone", **term}]}}}


def spread(*constraints: Object) -> Object:
    base = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    return {"topologySpreadConstraints": [{**base, **one} for one in constraints]}


def expression(operator: str, *values: str, key: str = "a") -> Object:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "field", "text"),
    [
        (on_node(expression("In")), f"{NODE}[0].matchExpressions[0].values", "must be specified when"),
        (on_node(expression("Exists", "b")), f"{NODE}[0].matchExpressions[0].values", "may not be specified when"),
        (on_node(expression("Gt", "1", "2")), f"{NODE}[0].matchExpressions[0].values", "specified single value"),
        (on_node(expression("Lt", "b")), f"{NODE}[0].matchExpressions[0].values[0]", "must be an integer"),
        (on_node(expression("Exists", key="a b")), f"{NODE}[0].matchExpressions[0].key", "name part must consist"),
        (on_node(fields=[expression("In", "n", key="spec.x")]), f"{NODE}[0].matchFields[0].key", "not a valid"),
        ({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}}, NODE, "at least one"),
        (near(topologyKey=""), f"{NEAR}.topologyKey", "can not be empty"),
        (near(labelSelector={"matchLabels": {"a": "b c"}}), f"{NEAR}.labelSelector.matchLabels", "a valid label"),
        (near(matchLabelKeys=["a"]), f"{NEAR}.matchLabelKeys[0]", "when labelSelector is not set"),
        (
            near(matchLabelKeys=["a"], mismatchLabelKeys=["a"], labelSelector={}),
            f"{NEAR}.matchLabelKeys[0]",
            "exists in both",
        ),
        (
            {"affinity": {"virtualMachineAndPodAntiAffinity": {PREFERRED: [
                {"weight": 1, "virtualMachineAndPodAffinityTerm": {"topologyKey": ""}}
            ]}}},
            f"spec.affinity.virtualMachineAndPodAntiAffinity.{PREFERRED}[0].virtualMachineAndPodAffinityTerm.topologyKey",
            "can not be empty",
        ),
        (spread({}, {}), "spec.topologySpreadConstraints[1]", "Duplicate value"),
        (spread({"minDomains": 2}), "spec.topologySpreadConstraints[0].minDomains", "can only use minDomains if"),
        ({"tolerations": [{"value": "b"}]}, "spec.tolerations[0].operator", "operator must be Exists when `key`"),
        ({"tolerations": [{"operator": "Exists", "value": "b"}]}, "spec.tolerations[0].operator", "empty"),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 1}]}, "spec.tolerations[0].effect", "NoExecute"),
        ({"nodeSelector": {"a/b/c": "d"}}, "spec.nodeSelector", "prefix part"),
    ],
)  # fmt: skip
async def test_what_means_nothing_is_refused(spec: Object, field: str, text: str) -> None:
    found = told(await world().create(changed(machine(), **spec)))
    assert len(found) == 1, found
    assert found[0].startswith(f"{field}: ")
    assert text in found[0]


async def test_what_means_something_is_not() -> None:
    spec: Object = {
        **on_node(
            expression("Gt", "3"), expression("NotIn", "b"), fields=[expression("In", "n", key="metadata.name")]
        ),
        **spread({"minDomains": 2, "whenUnsatisfiable": "DoNotSchedule"}, {"topologyKey": "host"}),
        "tolerations": [{"operator": "Exists"}, {"key": "a", "value": ""}, {"key": "a", "effect": "NoExecute"}],
        "nodeSelector": {"example.com/a": ""},
    }
    assert told(await world().create(changed(machine(), **spec))) == []


async def test_what_was_stored_before_stays_until_it_is_changed() -> None:
    old = stored(changed(machine(), virtualMachineClassName="open", tolerations=[{"value": "b"}]))
    assert told(await world().update(old, changed(old, runPolicy="Manual"))) == []
    assert told(await world().update(old, changed(old, tolerations=[{"value": "c"}])))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (
            {"nodeSelector": {"matchExpressions": [expression("In")]}},
            "spec.nodeSelector.matchExpressions[0].values",
        ),
        ({"nodeSelector": {"matchLabels": {"a b": "c"}}}, "spec.nodeSelector.matchLabels"),
        ({"tolerations": [{"value": "b"}]}, "spec.tolerations[0].operator"),
        (
            {
                "cpu": {
                    "type": "Discovery",
                    "discovery": {"nodeSelector": {"matchExpressions": [expression("In")]}},
                }
            },
            "spec.cpu.discovery.nodeSelector.matchExpressions[0].values",
        ),
    ],
)
async def test_a_class_is_judged_likewise(spec: dict[str, Any], field: str) -> None:
    obj = make("VirtualMachineClass", "c", spec={"cpu": {"type": "Host"}, **spec})
    assert [line.partition(": ")[0] for line in told(await World().create(obj))] == [field]
