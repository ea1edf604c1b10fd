"""What a Pod says of why there is no guest, as the machine's condition tells it."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.controllers.pod.reading import why_waiting
from tests.parts import Part


def pod(*, node: str = "", deleting: bool = False, **status: Any) -> Part:
    meta = {"name": "p", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {})}
    return {"metadata": meta, "spec": {"nodeName": node} if node else {}, "status": status}


def scheduled(message: str) -> Part:
    return [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]


@pytest.mark.parametrize(
    ("found", "reason", "message"),
    [
        (pod(), "PodNotStarted", "Pod p cannot be scheduled: the scheduler has not looked at it yet."),
        (
            pod(phase="Pending", conditions=scheduled("0/3 nodes are available: 3 Insufficient cpu.")),
            "PodNotStarted",
            "Pod p cannot be scheduled: 0/3 nodes are available: 3 Insufficient cpu.",
        ),
        (
            pod(
                node="metal",
                phase="Pending",
                containerStatuses=[{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}],
            ),
            "PodNotStarted",
            "Pod p: no such image.",
        ),
        (pod(node="metal", phase="Pending"), "PodNotStarted", "Pod p is being started on node metal."),
        (
            pod(node="metal", phase="Failed", reason="Evicted", message="The node was low on memory."),
            "PodNotStarted",
            "Pod p has ended: The node was low on memory.",
        ),
        (
            pod(node="metal", phase="Running", deleting=True),
            "PodTerminating",
            "Pod p is ending; another one is made once it is gone.",
        ),
        (pod(node="metal", phase="Running"), "PodNotStarted", ""),
    ],
)
def test_why_a_machine_waits(found: Part, reason: str, message: str) -> None:
    assert why_waiting(found) == (reason, message)
