"""Scale of the group autoscaling: how many of something there shall be, as a subresource of kinds that count.

It is no object of its own: it shows ``spec.replicas``, ``status.replicas`` and ``status.selector`` of another.
"""

from __future__ import annotations

from typing import Final

from hyperd.resources.core import schemas
from hyperd.resources.schema.kind import Column, Kind, Object

SUBRESOURCE: Final = "scale"

SCALE: Final = Kind(
    group="autoscaling",
    version="v1",
    kind="Scale",
    plural="scales",
    singular="scale",
    namespaced=True,
    columns=(
        Column("Name", ".metadata.name", format="name", description="Name of the object"),
        Column("Desired", ".spec.replicas", type="integer", description="How many there shall be"),
        Column("Available", ".status.replicas", type="integer", description="How many there are"),
        Column("Age", ".metadata.creationTimestamp", type="date", description="When it was created"),
    ),
    openapi=schemas.kind(
        "Scale is how many of something there shall be.",
        spec=schemas.block("How many there shall be.", replicas=schemas.number("The number.")),
        status=schemas.block(
            "How many there are.",
            replicas=schemas.number("The number."),
            selector=schemas.text("Labels that select them."),
        ),
    ),
)

_SHOWN: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(obj: Object) -> Object:
    """The Scale of an object. A number of 0 is left out of ``spec``, as Kubernetes leaves it out."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    meta = {name: obj["metadata"][name] for name in _SHOWN if name in obj["metadata"]}
    shown: Object = {"replicas": status.get("replicas") or 0}
    if status.get("selector"):
        shown["selector"] = status["selector"]
    wanted = {"replicas": spec["replicas"]} if spec.get("replicas") else {}
    return {
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": meta,
        "spec": wanted,
        "status": shown,
    }


def counts(obj: Object) -> bool:
    """Whether ``obj`` says how many there shall be."""
    return (obj.get("spec") or {}).get("replicas") is not None
