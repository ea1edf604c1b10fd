"""Which processor a class gives, and which nodes can give it."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.controllers.node.fitting import suits
from hyperd.controllers.node.processors import common_features, unknown_to_all, with_features
from tests.parts import Part, part

GROUP = "virtualization.deckhouse.io"


def node(*features: str, models: tuple[str, ...] = (), kvm: bool = True, **labels: str) -> Part:
    told = {f"cpu-feature.node.{GROUP}/{feature}": "true" for feature in features}
    told |= {f"cpu-model.node.{GROUP}/{model}": "true" for model in models}
    if kvm:
        told[f"{GROUP}/kvm-enabled"] = "true"
    return {"metadata": {"name": "n", "labels": {**told, **labels}}}


def class_(type_: str, found: tuple[str, ...] = (), **cpu: Any) -> Part:
    return {
        "metadata": {"name": "c"},
        "spec": {"cpu": {"type": type_, **cpu}, "nodeSelector": {"matchLabels": {"zone": "a"}}},
        "status": {"cpuFeatures": {"enabled": list(found)}},
    }


def test_nodes_have_in_common_what_each_of_them_has() -> None:
    assert common_features([node("aes", "vmx", "avx"), node("avx", "aes")]) == ["aes", "avx"]
    assert common_features([node("aes"), node("vmx")]) == []
    assert common_features([]) == []


def test_guests_get_the_features_that_were_found() -> None:
    assert with_features(class_("Discovery", ("aes",)))["cpu"]["features"] == ["aes"]
    assert with_features(class_("Features", ("aes",), features=["vmx"]))["cpu"]["features"] == ["vmx"]


@pytest.mark.parametrize(
    ("asked", "there", "suitable"),
    [
        (class_("Model", model="Nehalem"), node(models=("Nehalem",), zone="a"), True),
        (class_("Model", model="Nehalem"), node(models=("Nehalem",), zone="b"), False),
        (class_("Model", model="Nehalem"), node(models=("Penryn",), zone="a"), False),
        (class_("Model", model="Nehalem"), node(kvm=False, zone="a"), True),
        (class_("Features", features=["aes", "avx"]), node("aes", zone="a"), False),
        (class_("Features", features=["aes", "svm"]), node("aes", zone="a"), True),
        (class_("Discovery", ("aes",)), node("aes", "avx", zone="a"), True),
        (class_("Discovery", ("aes",)), node("avx", zone="a"), False),
        (class_("Host"), node(zone="a"), True),
    ],
)
def test_a_node_suits_that_is_selected_and_has_the_processor(asked: Part, there: Part, suitable: bool) -> None:
    assert suits(there, asked) is suitable


def test_a_name_that_no_node_knows_is_told_with_what_may_have_been_meant() -> None:
    known = [node(models=("Nehalem", "EPYC"), kvm=False), node("aes", "avx2", models=("Penryn",))]
    told = unknown_to_all(class_("Model", model="nehalm"), known)
    assert told == 'No node knows the processor model "nehalm": did you mean Nehalem?'
    told = unknown_to_all(class_("Model", model="Nonesuch"), known)
    assert told == 'No node knows the processor model "Nonesuch": known are EPYC, Nehalem, Penryn.'
    assert "avx2" in unknown_to_all(class_("Features", features=["aes", "avx3"]), known)
    assert unknown_to_all(class_("Model", model="Penryn"), known) == ""
    assert unknown_to_all(class_("Features", features=["svm"]), known) == ""
    assert unknown_to_all(class_("Model", model="Nonesuch"), [part({"metadata": {"name": "n"}})]) == ""
