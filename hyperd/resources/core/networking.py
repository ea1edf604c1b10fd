"""Kinds of Kubernetes' network that a cluster's nodes follow: who may speak with whom, and where Services lead."""

from __future__ import annotations

from typing import Final

from hyperd.resources.core import schemas
from hyperd.resources.schema.kind import Column, Kind

_NAME = Column("Name", ".metadata.name", format="name", description="Name of the object")
_AGE = Column("Age", ".metadata.creationTimestamp", type="date", description="When it was created")

NETWORK_POLICY: Final = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    singular="networkpolicy",
    namespaced=True,
    short_names=("netpol",),
    columns=(_NAME, _AGE),
    openapi=schemas.kind(
        "NetworkPolicy says who may speak with some Pods.", spec=schemas.open_block("The Pods, and who.")
    ),
)
ENDPOINT_SLICE: Final = Kind(
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
    singular="endpointslice",
    namespaced=True,
    columns=(_NAME, _AGE),
    openapi=schemas.kind("EndpointSlice is some of those to whom a Service leads."),
)
"""Both of a cluster; one machine has neither, so its home serves none."""
