"""When a node's guests may be taken for dead: a pure function of what is known of the node.

A node that is silent proves nothing: it may be cut off, and its guests run on. What proves something is an
administrator's word, the taint that Kubernetes itself has for it, or a watchdog on the node that must have ended
the guest by now. A Pod that is gone proves nothing either, who ever deleted it, nor does a Node that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hyperd.resources.schema.kind import AnyObject

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
"""Kubernetes' own taint for a node that is off. Of a silent node in it Pods are removed, and volumes detached."""


class Proof(StrEnum):
    """By what a node's guests are known to be dead."""

    TAINT = "taint"
    FENCE = "fence"


@dataclass(frozen=True)
class Sight:
    """What the leader knows of a node.

    ``heard`` is whether its hyperd renews its lease, which who has just begun to lead believes at first of all;
    ``renewed`` is whether it has seen that.
    """

    node: str
    heard: bool
    exists: bool = True
    ready: bool = True
    """Whether its kubelet answers."""
    out_of_service: bool = False
    fence: float | None = None
    """Seconds until its watchdog must have ended every guest that it guards; None where nobody can say."""
    unsure: str = ""
    """Why nobody can say, where the node has a watchdog."""
    renewed: bool = False


@dataclass(frozen=True)
class Verdict:
    """``proof`` that a machine's guest is dead, or, without one, a sentence for who has to decide, or neither."""

    proof: Proof | None = None
    message: str = ""
    again: float | None = None
    """Seconds after which it may be another one by itself."""


NOTHING: Final = Verdict()
"""The node answers for itself."""


def judge(sight: Sight, *, fenced: bool, to: str = "") -> Verdict:
    """Of a machine whose guest the node has, or had.

    ``fenced`` is whether its record says that the node's watchdog guards the guest; ``to`` is the node that it was
    on its way to.
    """
    if sight.heard:
        return NOTHING
    if to:
        return Verdict(message=_on_its_way(sight.node, to))
    if sight.out_of_service and not sight.ready:
        return Verdict(Proof.TAINT)
    if fenced and sight.fence is not None:
        if sight.fence <= 0:
            return Verdict(Proof.FENCE)
        return Verdict(message=_fencing(sight.node), again=sight.fence)
    return Verdict(message=_asking(sight, fenced=fenced))


def arriving(source: Sight, target: Sight) -> Verdict:
    """Of a machine whose guest is on its way, of which ``source`` decides as long as it is heard of."""
    if not source.heard or target.heard:
        return NOTHING
    there, here = target.node, source.node
    return Verdict(
        message=f"Node {there}, to which the guest is on its way, is not heard of. Where the guest has left node "
        f"{here} already it may run there, with its newer disks: then it waits until node {there} is back."
    )


def is_out_of_service(node: AnyObject) -> bool:
    """Whether an administrator has said that it is off."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return any(taint.get("key") == OUT_OF_SERVICE for taint in taints)


def _asking(sight: Sight, *, fenced: bool) -> str:
    node, off = sight.node, f"kubectl taint node {sight.node} {OUT_OF_SERVICE}=nodeshutdown:NoExecute"
    unsure = f" {sight.unsure}" if fenced and sight.unsure else ""
    if not sight.exists:
        return (
            f"Node {node} is not in the cluster any more, which does not prove that the guest is off.{unsure} "
            f"If the node is off for good, make a Node of this name with the taint {OUT_OF_SERVICE}."
        )
    if sight.ready:
        taint = f" The taint {OUT_OF_SERVICE} counts once it is NotReady." if sight.out_of_service else ""
        return (
            f"hyperd on node {node} is not heard of, but its kubelet is: the guest most likely runs."
            f"{taint}{unsure} Look at hyperd's Pod there."
        )
    return (
        f"Node {node} is not heard of, and the guest may run there.{unsure} Bring the node back; or, if it is off "
        f"for certain: {off}"
    )


def _fencing(node: str) -> str:
    return f"Node {node} is not heard of; its watchdog ends the guest, which starts elsewhere once that is sure."


def _on_its_way(node: str, to: str) -> str:
    return (
        f"Node {node} is not heard of, and the guest was on its way from there to node {to}: which of both has "
        f"it, and its newer disks, is not known until node {node} is back."
    )
