"""Where a disk's first content comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.image.reference import reference_of
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK
from hyperd.resources.values.quantity import to_bytes

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk


@dataclass(frozen=True)
class Source:
    """A registry reference; empty where the spec has a URL to import first."""

    reference: str = ""


@dataclass(frozen=True)
class Waiting:
    """The source is not there yet, and why."""

    reason: str
    message: str


def source_of(context: Context, disk: VirtualDisk) -> Source | Waiting | None:
    """The source, None for a blank disk, or what it waits for."""
    declared = disk["spec"].get("dataSource")
    if not declared:
        return None
    if declared.get("type") == "HTTP":
        return Source()
    if declared.get("type") != "ObjectRef":
        message = f"Data source {declared.get('type')} is not built yet in this version."
        return Waiting("ImageNotReady", message)
    ref = declared["objectRef"]
    kind = usage.DEVICE_KINDS.get(ref["kind"])
    if kind is None or kind is VIRTUAL_DISK:
        return Waiting("VirtualDiskSnapshot", f"Data source {ref['kind']} is not built yet in this version.")
    prefix = "ClusterImage" if kind is CLUSTER_VIRTUAL_IMAGE else "Image"
    image = context.informer(kind).get(disk["metadata"]["namespace"] if kind.namespaced else "", ref["name"])
    if image is None:
        return Waiting(f"{prefix}NotFound", f'{kind.kind} "{ref["name"]}" does not exist.')
    phase = (image.get("status") or {}).get("phase") or "Pending"
    if phase != "Ready":
        return Waiting(f"{prefix}NotReady", f'{kind.kind} "{ref["name"]}" is {phase}, not Ready.')
    return Source(reference=reference_of(context, kind, image))


def requested_size(disk: VirtualDisk) -> int | None:
    """Bytes that the disk asks for; None where its source decides."""
    size = (disk["spec"].get("persistentVolumeClaim") or {}).get("size")
    return None if size is None else to_bytes(size)
