"""Words of PersistentVolumeClaims that are Kubernetes' own: phases."""

from __future__ import annotations

from enum import StrEnum


class ClaimPhase(StrEnum):
    PENDING = "Pending"
    BOUND = "Bound"
    LOST = "Lost"
