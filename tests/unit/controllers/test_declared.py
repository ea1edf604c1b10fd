"""What controllers and kinds say of themselves, which roles, admission and the daemon read."""

from __future__ import annotations

import inspect

import pytest

from hyperd.controllers.all import CONTROLLERS
from hyperd.resources.all import KINDS, VIRTUAL_MACHINE_POOL
from hyperd.resources.schema.kind import Kind
from hyperd.resources.schema.structural import subschema
from hyperd.runtime.controller import Controller

UNHELD = (VIRTUAL_MACHINE_POOL,)
"""Kinds without a part on a host: what they own goes with them."""
OURS = [kind for kind in KINDS if not kind.core]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.kind)
def test_a_kind_says_what_sums_it_up(kind: Kind) -> None:
    assert kind.main_condition
    phases = (subschema(kind.schema, "status.phase") or {}).get("enum", ())
    assert set(kind.settled) <= set(phases)
    if not kind.not_built:
        assert bool(kind.finalizer) is (kind not in UNHELD)


def test_the_list_of_controllers_is_whole() -> None:
    found: set[type[Controller]] = set()
    waiting = [Controller]
    while waiting:
        for one in waiting.pop().__subclasses__():
            waiting.append(one)
            if one.__module__.startswith("hyperd.") and not inspect.isabstract(one):
                found.add(one)
    assert found == set(CONTROLLERS)
