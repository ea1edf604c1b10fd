"""A node that was given up for dead and is back: what is left of a taken machine ends there, at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hyperd.controllers.machine import holding
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.holding import Act, Holding, Record
from hyperd.resources.schema.kind import Object
from tests.unit.controllers.sweeping import HERE, Host, host
from tests.unit.controllers.test_fence import domain_of, look, machine, stands

LOST: Object = {"epoch": 2, "node": HERE, "lost": True}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("record", "bound"),
    [(LOST, ""), ({"epoch": 3, "node": "other"}, "other"), ({**LOST, "node": "other"}, "")],
    ids=["nobody has it yet", "another has it", "another was lost too"],
)
async def test_a_guest_that_lives_there_still_ends_with_the_first_look(
    node: Host, record: Object, bound: str
) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=1, record=record, bound=bound)
    await look(node, 1)
    domain = await domain_of(node, uid)
    assert (domain.active, domain.epoch) == (False, record["epoch"]), "its definition stays, and is barred"
    assert not node.network.links
    await look(node)
    assert (await machine(node))["status"] == {"nodeName": bound, "holder": record}, "it is not claimed back"


async def test_a_record_that_is_below_the_guest_ends_nothing(node: Host) -> None:
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=3, record=LOST, bound="")
    await look(node)
    assert (await domain_of(node, uid)).active
    assert [reason for reason, _ in node.told.events] == ["HolderOutdated"]


async def test_bound_there_anew_its_guest_is_kept_under_another_epoch(node: Host) -> None:
    """Nobody else had it meanwhile: by its Pod, which is another one by now, it is ended as any other."""
    uid, _ = await node.make("web")
    await stands(node, uid, epoch=1, record=LOST)
    stored, domain = await Fence(node.context).hold(await machine(node), await domain_of(node, uid))
    assert stored["status"]["holder"] == {"epoch": 3, "node": HERE}
    assert domain is not None
    assert (domain.active, domain.epoch) == (True, 3)


@pytest.mark.parametrize(
    ("bound", "seen"), [("", Holding.THEIRS), ("beta", Holding.THEIRS), ("alpha", Holding.NONE)]
)
def test_a_lost_machine_is_nobodys_until_it_is_bound(bound: str, seen: Holding) -> None:
    for last in ("alpha", "beta"):
        standing = holding.judge(Record(4, last, lost=True), bound=bound, me="alpha", domain=3)
        assert standing.holding is seen
        assert standing.permits(Act.YIELD) is (seen is Holding.THEIRS)
        assert not standing.permits(Act.START)


def test_it_is_given_up_above_every_epoch_that_its_guest_may_have() -> None:
    given = holding.given_up(Record(4, "alpha", fenced=True), "alpha")
    assert given == Record(5, "alpha", lost=True)
    taken = holding.change(
        holding.judge(given, bound="beta", me="beta", domain=None), Holding.MINE, me="beta", domain=None
    )
    assert taken == Record(6, "beta")


@pytest.mark.parametrize("record", [Record(1, "a"), Record(2, "a", lost=True), Record(3, "a", fenced=True),
    Record(4, "a", to="b", operation="o")])  # fmt: skip
def test_a_record_is_read_as_it_was_shown(record: Record) -> None:
    assert holding.read({"metadata": {}, "spec": {}, "status": {"holder": holding.shown(record)}}) == record  # type: ignore[typeddict-item]
