"""Whatever is not built says so at once, of each kind and each field that is declared so."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.admission.dispatch import FINALIZERS, RULES, SCALED
from hyperd.install.manifests import webhooks
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.unbuilt import refused_in, unbuilt_in
from tests.unit.admission.world import World, stored
from tests.unit.resources.samples import examples

UNBUILT = [kind for kind in KINDS if kind.not_built]
FIELDS = [(kind, key) for kind in KINDS for key in (*kind.unbuilt, *kind.refused)]


@pytest.mark.parametrize("kind", UNBUILT, ids=lambda kind: kind.kind)
async def test_a_kind_that_is_not_built_warns_at_create_and_not_again(kind: Kind) -> None:
    world = World()
    obj = next(one for one in examples() if one["kind"] == kind.kind)
    told = (await world.create(obj)).warnings
    assert told[0] == f"{kind.kind}: {kind.not_built}"
    relabelled = stored(obj)
    relabelled["metadata"]["labels"] = {"a": "b"}
    assert (await world.update(stored(obj), relabelled)).warnings == []


def at(path: str, value: Any) -> Object:
    """An object that has ``value`` at ``path`` and nothing else."""
    for part in reversed(path.split(".")):
        value = {part.removesuffix("[]"): [value] if part.endswith("[]") else value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(("kind", "key"), FIELDS, ids=lambda one: one.kind if isinstance(one, Kind) else one)
def test_a_field_that_is_declared_without_effect_is_told(kind: Kind, key: str) -> None:
    path, equals, value = key.partition("=")
    obj = at(path, value if equals else "something")
    (found,) = [*unbuilt_in(kind, obj), *refused_in(kind, obj)]
    assert found.sentence == {**kind.unbuilt, **kind.refused}[key]


def test_a_cluster_asks_about_every_kind_that_has_something_to_be_told() -> None:
    hooks = webhooks()[1]["webhooks"]
    asked = {plural for hook in hooks for rule in hook["rules"] for plural in rule["resources"]}
    told = {kind.plural for kind in KINDS if not kind.core and (kind.not_built or kind.unbuilt or kind.refused)}
    assert told <= asked
    mutation = webhooks()[0]["webhooks"][0]
    completed = {plural for rule in mutation["rules"] for plural in rule["resources"]}
    assert completed == {kind.plural for kind in {*RULES, *FINALIZERS} if not kind.core}
    # What is only warned of goes on while no hyperd answers; what may be refused does not.
    refused = {kind.plural for kind in KINDS if not kind.core and kind.refused}
    waits = {
        plural
        for hook in hooks
        if hook["failurePolicy"] == "Fail"
        for rule in hook["rules"]
        for plural in rule["resources"]
    }
    assert waits == completed | refused | {f"{kind.plural}/scale" for kind in SCALED}
