"""PodDisruptionBudget of the group policy: how many of some Pods evictions must leave."""

from __future__ import annotations

from typing import Final

from hyperd.resources.core import schemas
from hyperd.resources.schema.kind import Column, Kind

EVICTION: Final = "eviction"
"""The subresource of Pods by which they are asked to go."""

POD_DISRUPTION_BUDGET: Final = Kind(
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    singular="poddisruptionbudget",
    namespaced=True,
    short_names=("pdb",),
    columns=(
        Column("Name", ".metadata.name", format="name", description="Name of the object"),
        Column("Min Available", ".spec.minAvailable", description="How many must be left"),
        Column("Age", ".metadata.creationTimestamp", type="date", description="When it was created"),
    ),
    openapi=schemas.kind(
        "PodDisruptionBudget is how many of some Pods evictions must leave.",
        spec=schemas.open_block("The number, and the Pods."),
        status=schemas.open_block("What it comes to now."),
    ),
)
"""Of a cluster; one machine has no evictions, so its home serves none."""
