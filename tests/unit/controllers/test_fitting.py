"""What keeps a machine off a node: every field of machine and class that says where, alone and together."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.controllers.node.fitting import misfit, preference
from tests.parts import Part, part

GROUP = "virtualization.deckhouse.io"
TAINT = {"key": "for", "value": "few", "effect": "NoSchedule"}


def node(*, cordoned: bool = False, taints: tuple[Part, ...] = (), **labels: str) -> Part:
    """An emulating node in zone a that knows one model and one feature."""
    told = {
        f"cpu-model.node.{GROUP}/Nehalem": "true",
        f"cpu-model.node.{GROUP}/EPYC": "stand-in",
        f"cpu-feature.node.{GROUP}/aes": "true",
        "zone": "a",
        "disks": "4",
    }
    return {
        "metadata": {"name": "metal", "labels": {**told, **labels}},
        "spec": {"unschedulable": cordoned, "taints": list(taints)},
    }


def class_(cpu: Part | None = None, **spec: Any) -> Part:
    return {"metadata": {"name": "c"}, "spec": {"cpu": cpu or {"type": "Host"}, **spec}}


def affinity(*terms: Part) -> Part:
    required = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def expression(key: str, operator: str, *values: str) -> Part:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("there", "machine", "asked", "told"),
    [
        (node(), {}, class_(), ""),
        (node(cordoned=True), {}, class_(), "is cordoned"),
        (node(cordoned=True), {"tolerations": [{"operator": "Exists"}]}, class_(), ""),
        (node(), {}, class_(nodeSelector={"matchLabels": {"zone": "a"}}), ""),
        (
            node(),
            {},
            class_(nodeSelector={"matchLabels": {"zone": "b"}}),
            'the nodeSelector of VirtualMachineClass "c"',
        ),
        (
            node(),
            {},
            class_(nodeSelector=expression("zone", "NotIn", "a")),
            "the nodeSelector of VirtualMachineClass",
        ),
        (node(), {}, class_(nodeSelector=expression("disks", "Gt", "3")), ""),
        (
            node(),
            {},
            class_(nodeSelector=expression("disks", "Lt", "4")),
            "the nodeSelector of VirtualMachineClass",
        ),
        (
            node(),
            {},
            class_(nodeSelector=expression("zone", "Gt", "3")),
            "the nodeSelector of VirtualMachineClass",
        ),
        (node(), {}, class_({"type": "Model", "model": "Nehalem"}), ""),
        (node(), {}, class_({"type": "Model", "model": "EPYC"}), ""),
        (node(), {}, class_({"type": "Model", "model": "Nonesuch"}), "the processor of VirtualMachineClass"),
        (node(), {}, class_({"type": "Features", "features": ["aes", "svm"]}), ""),
        (node(), {}, class_({"type": "Features", "features": ["aes", "nonesuch"]}), "the processor of"),
        (node(), {"nodeSelector": {"zone": "a"}}, class_(), ""),
        (node(), {"nodeSelector": {"zone": "b"}}, class_(), "the machine's nodeSelector: zone=b"),
        (node(), {"nodeSelector": {"zone": "b"}}, class_(nodeSelector={"matchLabels": {"zone": "a"}}), ""),
        (node(), affinity(expression("zone", "In", "b"), expression("zone", "Exists")), class_(), ""),
        (node(), affinity(expression("zone", "In", "b")), class_(), "the machine's affinity.nodeAffinity"),
        (node(), affinity({}), class_(), "the machine's affinity.nodeAffinity"),
        (
            node(),
            affinity({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["metal"]}]}),
            class_(),
            "",
        ),
        (
            node(),
            affinity({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["metal"]}]}),
            class_(),
            "the machine's affinity.nodeAffinity",
        ),
        (node(taints=(TAINT,)), {}, class_(), "has the taint for=few:NoSchedule"),
        (node(taints=(TAINT,)), {"tolerations": [{"key": "for", "value": "few"}]}, class_(), ""),
        (node(taints=(TAINT,)), {}, class_(tolerations=[{"key": "for", "operator": "Exists"}]), ""),
        (node(taints=({**TAINT, "effect": "PreferNoSchedule"},)), {}, class_(), ""),
    ],
)
def test_what_keeps_a_machine_off_a_node_is_named(there: Part, machine: Part, asked: Part, told: str) -> None:
    found = misfit(there, machine, asked)
    assert told in found
    assert bool(found) is bool(told)


def test_a_node_without_word_of_its_processor_is_taken_at_its_labels() -> None:
    bare: Part = {"metadata": {"name": "test"}, "spec": {}}
    assert misfit(bare, part({}), class_({"type": "Model", "model": "Nonesuch"})) == ""


def test_the_weights_of_what_a_node_matches_add_up() -> None:
    preferred = [
        {"weight": 30, "preference": expression("zone", "In", "a")},
        {"weight": 20, "preference": expression("disks", "Exists")},
        {"weight": 90, "preference": expression("zone", "In", "b")},
    ]
    spec: Part = {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}
    assert preference(node(), spec) == 50
    assert preference(node(), part({})) == 0
