"""Who holds a machine: every pair of states, every relation of the epochs."""

from __future__ import annotations

from itertools import product

import pytest

from hyperd.controllers.machine import holding
from hyperd.controllers.machine.holding import Act, Epoch, Holding, NotPermitted, Record, Standing, Step
from tests.parts import Part, part

ME, PEER = "alpha", "beta"
ENDS_A_GUEST = {Act.END, Act.YIELD, Act.REMOVE}

SEEN = {
    Holding.NONE: (Record(3, PEER), ME),
    Holding.MINE: (Record(3, ME), ME),
    Holding.OUTGOING: (Record(3, ME, to=PEER), ME),
    Holding.INCOMING: (Record(3, PEER, to=ME), PEER),
    Holding.THEIRS: (Record(3, PEER), PEER),
}
"""A record and a binding by which this node sees each."""
RELATIONS = {Epoch.BELOW: 4, Epoch.EQUAL: 3, Epoch.ABOVE: 2}
"""The domain's epoch for each relation to those records."""


def standing(state: Holding, relation: Epoch) -> Standing:
    record, bound = SEEN[state]
    return holding.judge(record, bound=bound, me=ME, domain=RELATIONS[relation])


@pytest.mark.parametrize(("state", "relation"), list(product(Holding, Epoch)))
def test_each_state_is_seen_as_what_it_is(state: Holding, relation: Epoch) -> None:
    seen = standing(state, relation)
    assert (seen.holding, seen.epoch) == (state, relation)
    assert seen.refused is (relation is Epoch.BELOW)


@pytest.mark.parametrize(("state", "act"), list(product(Holding, Act)))
def test_a_record_below_the_domain_permits_nothing(state: Holding, act: Act) -> None:
    assert not standing(state, Epoch.BELOW).permits(act)


@pytest.mark.parametrize(("state", "act", "relation"), list(product(Holding, Act, (Epoch.EQUAL, Epoch.ABOVE))))
def test_who_holds_it_may_do_what_the_others_may_not(state: Holding, act: Act, relation: Epoch) -> None:
    permitted = standing(state, relation).permits(act)
    if act is Act.START:
        assert permitted is (state is Holding.MINE), "an outgoing guest is never started, nor one not held"
    elif act is Act.YIELD:
        assert permitted is (state is Holding.THEIRS)
    elif act in ENDS_A_GUEST:
        assert permitted is (state is Holding.MINE)
    else:
        assert act is Act.DELETE_VOLUME
        assert permitted is (state not in (Holding.INCOMING, Holding.OUTGOING)), "both have it open"


@pytest.mark.parametrize(("before", "after", "relation"), list(product(Holding, Holding, Epoch)))
def test_every_change_is_in_the_table_or_refused(before: Holding, after: Holding, relation: Epoch) -> None:
    seen, domain = standing(before, relation), RELATIONS[relation]
    step = holding.TRANSITIONS.get((before, after))
    if step is None or relation is Epoch.BELOW:
        with pytest.raises(NotPermitted):
            holding.change(seen, after, me=ME, peer=PEER, domain=domain)
        return
    record = holding.change(seen, after, me=ME, peer=PEER, domain=domain)
    assert record.epoch == (4 if step is Step.NEXT else 3)
    bound = PEER if after in (Holding.THEIRS, Holding.INCOMING) else ME
    again = holding.judge(record, bound=bound, me=ME, domain=domain)
    assert again.holding is after
    assert not again.refused


@pytest.mark.parametrize(("before", "after"), list(holding.TRANSITIONS))
def test_the_epoch_changes_where_the_guests_node_does(before: Holding, after: Holding) -> None:
    has_it = {Holding.MINE, Holding.OUTGOING}
    moves = (before in has_it) != (after in has_it)
    assert (holding.TRANSITIONS[before, after] is Step.NEXT) is moves


@pytest.mark.parametrize("after", [Holding.OUTGOING, Holding.THEIRS, Holding.INCOMING])
def test_a_change_that_involves_a_peer_names_it(after: Holding) -> None:
    for before in Holding:
        if (before, after) in holding.TRANSITIONS:
            with pytest.raises(NotPermitted):
                holding.change(standing(before, Epoch.EQUAL), after, me=ME)


def test_of_a_migrations_two_ends_at_most_one_may_start_the_guest() -> None:
    """Whatever each of them has seen of the other's writes so far."""
    offered = holding.change(standing(Holding.MINE, Epoch.EQUAL), Holding.OUTGOING, me=ME, peer=PEER)
    at_peer = holding.judge(offered, bound=ME, me=PEER, domain=None)
    assert at_peer.holding is Holding.INCOMING
    arrived = holding.change(at_peer, Holding.MINE, me=PEER, domain=3)
    for record, bound in ((offered, ME), (arrived, PEER)):
        may = [holding.judge(record, bound=bound, me=node, domain=3).permits(Act.START) for node in (ME, PEER)]
        assert sum(may) <= 1
    assert holding.judge(arrived, bound=PEER, me=ME, domain=3).permits(Act.YIELD)
    # Once the new node has it, what the store said before is refused there.
    assert holding.judge(offered, bound=ME, me=PEER, domain=arrived.epoch).refused


@pytest.mark.parametrize("domain", [None, 0, 5])
@pytest.mark.parametrize("bound", ["", ME])
def test_a_machine_without_a_record_is_taken_above_its_domain(domain: int | None, bound: str) -> None:
    """As before there were records; or the status was lost, and the domain knows more."""
    seen = holding.judge(Record(), bound=bound, me=ME, domain=domain)
    assert (seen.holding, seen.refused) == (Holding.NONE, False)
    assert holding.change(seen, Holding.MINE, me=ME, domain=domain) == Record((domain or 0) + 1, ME)


@pytest.mark.parametrize(("domain", "permitted"), [(0, True), (1, False)])
def test_a_binding_without_a_record_ends_only_guests_from_before_epochs(domain: int, permitted: bool) -> None:
    assert holding.judge(Record(), bound=PEER, me=ME, domain=domain).permits(Act.YIELD) is permitted


@pytest.mark.parametrize(
    "machine",
    [{}, {"status": None}, {"status": {}}, {"status": {"nodeName": ME, "phase": "Running"}}],
    ids=["new", "none", "empty", "yesterday's"],
)
def test_a_status_from_before_there_were_records_is_read_as_none(machine: Part) -> None:
    assert holding.read(machine) == Record()


def test_a_record_is_read_as_it_is_written() -> None:
    assert holding.read(part({"status": {"holder": {"epoch": 7, "node": PEER}}})) == Record(7, PEER)
