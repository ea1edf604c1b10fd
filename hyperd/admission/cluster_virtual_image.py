"""Rules of ClusterVirtualImage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.admission.images import check_name
from hyperd.resources.all import SECRET, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_IMAGE
from hyperd.resources.kinds.data_source import ImageObjectRefKind
from hyperd.resources.schema.kind import Kind

if TYPE_CHECKING:
    from hyperd.resources.views.cluster_virtual_image import ClusterVirtualImage, ClusterVirtualImageSpec

    Image = Context[ClusterVirtualImage, ClusterVirtualImageSpec]

_SOURCES: Mapping[str, Kind] = {
    ImageObjectRefKind.VIRTUAL_IMAGE: VIRTUAL_IMAGE,
    ImageObjectRefKind.VIRTUAL_DISK: VIRTUAL_DISK,
    ImageObjectRefKind.VIRTUAL_DISK_SNAPSHOT: VIRTUAL_DISK_SNAPSHOT,
}
"""Kinds of a namespace: what they hold becomes everybody's."""


async def review(context: Image) -> None:
    """What the image is made of must be its user's to read."""
    check_name(context)
    if context.spec.get("dataSource") != context.old_spec.get("dataSource"):
        await _check_sources(context)


async def _check_sources(context: Image) -> None:
    source = context.spec["dataSource"]
    reference = source.get("objectRef")
    kind = None if reference is None else _SOURCES.get(reference["kind"])
    if reference is not None and kind is not None:
        path = "spec.dataSource.objectRef"
        await context.require(path, "get", kind, reference.get("namespace") or "", reference["name"])
    container = source.get("containerImage")
    pull = None if container is None else container.get("imagePullSecret")
    if pull is not None and pull.get("name"):
        path = "spec.dataSource.containerImage.imagePullSecret"
        await context.require(path, "get", SECRET, pull.get("namespace") or "", pull["name"])
