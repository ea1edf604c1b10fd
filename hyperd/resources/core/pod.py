"""Words of Pods that are Kubernetes' own: phases and condition types."""

from __future__ import annotations

from enum import StrEnum


class PodPhase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class PodConditionType(StrEnum):
    SCHEDULED = "PodScheduled"
