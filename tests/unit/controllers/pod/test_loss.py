"""When a node's guests may be taken for dead: every combination of what can be known of a node."""

from __future__ import annotations

from itertools import product

import pytest

from hyperd.controllers.pod import loss
from hyperd.controllers.pod.loss import NOTHING, Proof, Sight

TOLD = "kubectl taint node metal node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
BOTH = (False, True)
FENCES = (None, 12.0, 0.0)
ALL = list(product(BOTH, BOTH, BOTH, BOTH, FENCES, BOTH, ("", "wood")))


@pytest.mark.parametrize(("heard", "exists", "ready", "tainted", "fence", "fenced", "to"), ALL)
def test_a_guest_is_dead_by_the_taint_or_by_the_watchdog_and_by_nothing_else(
    heard: bool, exists: bool, ready: bool, tainted: bool, fence: float | None, fenced: bool, to: str
) -> None:
    sight = Sight("metal", heard, exists, ready and exists, tainted and exists, fence)
    found = loss.judge(sight, fenced=fenced, to=to)
    if heard:
        assert found == NOTHING, "it answers for itself, whatever others say"
    elif to:
        assert found.proof is None, "the other node may have it"
        assert "wood" in found.message
    elif tainted and exists and not ready:
        assert found.proof is Proof.TAINT
    elif fenced and fence is not None:
        assert found.proof is (Proof.FENCE if fence == 0 else None)
        assert found.again == (None if fence == 0 else fence)
    else:
        assert found.proof is None
        assert found.message
    assert (found.proof is None) or not found.message


def test_who_is_asked_is_told_what_to_do() -> None:
    off = loss.judge(Sight("metal", heard=False, ready=False), fenced=False)
    assert off.message == (
        "Node metal is not heard of, and the guest may run there. Bring the node back; or, if it is off for "
        f"certain: {TOLD}"
    )
    gone = loss.judge(Sight("metal", heard=False, exists=False, ready=False), fenced=False).message
    assert gone.startswith("Node metal is not in the cluster any more, which does not prove")
    frozen = loss.judge(Sight("metal", heard=False, out_of_service=True), fenced=False).message
    assert "counts once it is NotReady" in frozen
    few = Sight("metal", heard=False, ready=False, unsure="Fencing needs 2 of 3 nodes, and 1 are heard of.")
    assert "needs 2 of 3" in loss.judge(few, fenced=True).message
    assert "needs 2 of 3" not in loss.judge(few, fenced=False).message


@pytest.mark.parametrize("taints", [None, [], [{"key": "node.kubernetes.io/unreachable"}], [{}]])
def test_no_other_taint_says_that_a_node_is_off(taints: list[dict[str, str]] | None) -> None:
    assert not loss.is_out_of_service({"spec": {"taints": taints}})
    assert not loss.is_out_of_service({})
