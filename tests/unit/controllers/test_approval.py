"""restartApprovalMode Automatic: asked for once, and again where it failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd import clock
from hyperd.controllers.machine.approval import FIRST_SECONDS, LAST_SECONDS, restart_if_approved
from hyperd.errors import AlreadyExists
from hyperd.resources.schema.kind import Kind, Object
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item, Store
from tests.parts import Part
from tests.unit.clocks.stepping import SteppedClock

MACHINE: Part = {
    "apiVersion": "virtualization.deckhouse.io/v1alpha2",
    "kind": "VirtualMachine",
    "metadata": {"namespace": "default", "name": "web", "uid": "12345678-rest", "generation": 7},
    "spec": {"disruptions": {"restartApprovalMode": "Automatic"}},
}


class Operations:
    """Operations that end as they are told to."""

    def __init__(self) -> None:
        self.made: dict[str, Object] = {}

    async def create(self, _: Kind, __: str, body: Object) -> None:
        name = body["metadata"]["name"]
        if name in self.made:
            raise AlreadyExists(name)
        self.made[name] = {**body, "metadata": {**body["metadata"], "uid": name}}

    def by_index(self, _: str, __: str) -> list[Item]:
        return [cast(Item, SimpleNamespace(object=lambda op=op: op)) for op in self.made.values()]

    def end(self, phase: str) -> None:
        (going,) = (op for op in self.made.values() if "status" not in op)
        going["status"] = {"phase": phase, "retentionTimer": clock.timer()}

    async def look(self, machine: Part = MACHINE) -> float | None:
        return await restart_if_approved(cast(Store, self), cast(Informer, cast(Any, self)), machine)


@pytest.fixture
def time_(monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    return SteppedClock(monkeypatch)


@pytest.mark.parametrize("phase", ["Failed", "Superseded"])
async def test_a_restart_that_did_not_happen_is_asked_for_again_later_each_time(
    time_: SteppedClock, phase: str
) -> None:
    operations = Operations()
    wait = FIRST_SECONDS
    for tries in range(1, 9):
        assert await operations.look() is None
        assert await operations.look() is None
        assert len(operations.made) == tries
        operations.end(phase)
        assert await operations.look() == pytest.approx(wait, abs=1)
        time_.step("-86400")
        time_.sleep(wait + 1)
        wait = min(wait * 2, LAST_SECONDS)
    assert list(operations.made)[:3] == ["restart-12345678-7", "restart-12345678-7-1", "restart-12345678-7-2"]


async def test_the_oldest_tries_may_be_forgotten(time_: SteppedClock) -> None:
    operations = Operations()
    for _ in range(3):
        await operations.look()
        operations.end("Failed")
        time_.sleep(LAST_SECONDS)
    del operations.made["restart-12345678-7"]
    await operations.look()
    assert list(operations.made)[-1] == "restart-12345678-7-3"


async def test_one_that_happened_is_not_asked_for_again_and_other_generations_are_their_own() -> None:
    operations = Operations()
    await operations.look()
    operations.end("Completed")
    assert await operations.look() is None
    for generation in (70, 8):
        meta = {**MACHINE["metadata"], "generation": generation}
        await operations.look({**MACHINE, "metadata": meta})
        operations.end("Failed")
    assert await operations.look() is None
    assert list(operations.made) == ["restart-12345678-7", "restart-12345678-70", "restart-12345678-8"]


async def test_nothing_is_asked_for_without_approval() -> None:
    operations = Operations()
    await operations.look({**MACHINE, "spec": {}})
    assert operations.made == {}
