"""Why a node takes no new work."""

from __future__ import annotations

import pytest

from hyperd.controllers.placement.placing import fault
from tests.parts import Part


def node(name: str = "a", *, ready: str = "True", cordoned: bool = False, kvm: str = "true") -> Part:
    return {
        "metadata": {"name": name, "labels": {"virtualization.deckhouse.io/kvm-enabled": kvm}},
        "spec": {"unschedulable": cordoned},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.mark.parametrize(
    ("found", "emulation", "told"),
    [
        (node(), False, ""),
        (node(kvm="false"), False, "cannot use KVM"),
        (node(kvm="false"), True, ""),
        (node("b"), True, "has no hyperd that answers"),
        (node(cordoned=True), True, "is cordoned"),
        (node(ready="Unknown", cordoned=True), True, "is not Ready"),
    ],
)
def test_what_keeps_a_node_from_new_work_is_named(found: Part, emulation: bool, told: str) -> None:
    assert fault(found, served={"a"}, emulation=emulation) == told
