"""Taints and tolerations mean for machines what a scheduler takes them to mean for Pods."""

from __future__ import annotations

import pytest

from hyperd.controllers.node import taints
from tests.parts import Part, part


def node(*words: str) -> Part:
    """A node with taints as ``kubectl taint`` writes them."""
    found = []
    for word in words:
        pair, _, effect = word.rpartition(":")
        key, _, value = pair.partition("=")
        found.append({"key": key, "effect": effect, **({"value": value} if value else {})})
    return {"metadata": {"name": "alpha"}, "spec": {"taints": found}}


@pytest.mark.parametrize(
    ("taint", "toleration", "repelled"),
    [
        ("dedicated=gpu:NoSchedule", {}, True),
        ("dedicated=gpu:NoSchedule", {"key": "dedicated", "value": "gpu"}, False),
        ("dedicated=gpu:NoSchedule", {"key": "dedicated", "operator": "Equal", "value": "gpu"}, False),
        ("dedicated=gpu:NoSchedule", {"key": "dedicated", "operator": "", "value": "db"}, True),
        ("dedicated=gpu:NoSchedule", {"key": "dedicated", "operator": "Exists"}, False),
        ("dedicated=gpu:NoSchedule", {"operator": "Exists"}, False),
        ("dedicated=gpu:NoSchedule", {"key": "other", "operator": "Exists"}, True),
        ("dedicated=gpu:NoSchedule", {"operator": "Exists", "effect": "NoExecute"}, True),
        ("dedicated=gpu:NoSchedule", {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}, False),
        ("broken:NoExecute", {"key": "broken"}, False),
        ("broken:NoExecute", {"key": "broken", "value": "x"}, True),
    ],
)
def test_a_taint_keeps_away_what_does_not_tolerate_it(taint: str, toleration: Part, repelled: bool) -> None:
    tolerated = [toleration] if toleration else []
    assert taints.repelling(node(taint), tolerated) == (taint if repelled else "")


def test_every_taint_must_be_tolerated() -> None:
    tolerated = [part({"key": "a", "operator": "Exists"})]
    assert taints.repelling(node("a:NoSchedule", "b=1:NoExecute"), tolerated) == "b=1:NoExecute"


def test_what_follows_from_a_nodes_own_state_is_not_judged_twice() -> None:
    assert taints.repelling(node("node.kubernetes.io/not-ready:NoSchedule"), []) == ""
    pressed = "node.kubernetes.io/disk-pressure:NoSchedule"
    assert taints.repelling(node(pressed), []) == pressed


def test_a_preference_keeps_nobody_away_and_is_counted() -> None:
    rather = node("old:PreferNoSchedule", "slow=1:PreferNoSchedule")
    assert taints.repelling(rather, []) == ""
    assert taints.disliked(rather, []) == 2
    assert taints.disliked(rather, [{"key": "slow", "operator": "Exists"}]) == 1


def test_a_class_tolerates_for_its_machines() -> None:
    own, of_class = {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}
    found = taints.tolerations(part({"tolerations": [own]}), part({"tolerations": [of_class]}))
    assert taints.repelling(node("a:NoSchedule", "b:NoSchedule"), found) == ""
