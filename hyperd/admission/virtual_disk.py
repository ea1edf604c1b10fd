"""Rules of VirtualDisk: it grows and never shrinks, and what it was made from stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.admission.images import CLASS_PATH, check_class, check_name, check_source, compare_provisioners
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, STORAGE_CLASS, VIRTUAL_IMAGE
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.data_source import DataSourceType
from hyperd.resources.kinds.virtual_disk import PROVISIONED, DiskObjectRefKind, VirtualDiskPhase
from hyperd.resources.values import meta
from hyperd.resources.values.names import SELECTED_NODE_ANNOTATION
from hyperd.resources.values.quantity import format_human, to_bytes

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk, VirtualDiskClaim, VirtualDiskSpec

    Disk = Context[VirtualDisk, VirtualDiskSpec]

SIZE_PATH = "spec.persistentVolumeClaim.size"
_MAX_BYTES = 1 << 62


async def review(context: Disk) -> None:
    """Judge name, size, class and source."""
    check_name(context)
    _keep_node(context)
    if not context.spec_changed:
        return
    check_source(context)
    size = _check_size(context)
    if context.phase in PROVISIONED:
        await _check_growth(context)
        await _check_move(context)
    else:
        await check_class(context, context.policy.disk_classes, "disks")
        await compare_provisioners(context)
        await _compare_with_image(context, size)


def _keep_node(context: Disk) -> None:
    """A disk stays on the node that keeps its volume: an update that leaves the node out means no other.

    A claim goes with its machine's Pod, which hyperd alone writes.
    """
    node = None if context.old is None else meta.annotations(context.old).get(SELECTED_NODE_ANNOTATION)
    if not node:
        return
    kept = context.new["metadata"].setdefault("annotations", {}).setdefault(SELECTED_NODE_ANNOTATION, node)
    if kept != node and not (context.policy.claims and context.by_system):
        context.forbidden(
            f"metadata.annotations[{SELECTED_NODE_ANNOTATION}]", f"the disk is on node {node} and cannot be moved"
        )


def _check_size(context: Disk) -> int | None:
    """The size in bytes, where one is given and right."""
    wanted = _claim(context.spec).get("size")
    if wanted is None:
        if _claim(context.old_spec).get("size") is not None:
            context.forbidden(SIZE_PATH, "the size cannot be removed once it is set")
        elif context.spec.get("dataSource") is None:
            context.required(SIZE_PATH, "a blank disk needs a size, such as 10Gi")
        return None
    try:
        size = to_bytes(wanted)
    except ValueError as err:
        context.invalid(SIZE_PATH, wanted, f"{err}")
        return None
    if not 0 < size < _MAX_BYTES:
        context.invalid(SIZE_PATH, wanted, "must be greater than zero and below 4Ei")
        return None
    former = _claim(context.old_spec).get("size")
    if former is None or to_bytes(former) == size:
        return size
    if size < to_bytes(former):
        context.invalid(SIZE_PATH, wanted, f"a disk cannot shrink: its size is {former}")
    elif context.phase == VirtualDiskPhase.MIGRATING:
        context.forbidden(SIZE_PATH, "the size cannot be changed while the disk is migrating")
    return size


async def _check_growth(context: Disk) -> None:
    """A disk grows where its class lets it."""
    wanted, former = (_claim(spec).get("size") for spec in (context.spec, context.old_spec))
    if wanted is None or former is None or context.causes or to_bytes(wanted) <= to_bytes(former):
        return
    status = None if context.old is None else context.old.get("status")
    name = "" if status is None else status.get("storageClassName") or ""
    class_ = await context.find(STORAGE_CLASS, name) if name else None
    if class_ is not None and not storage_class.may_grow(class_):
        context.forbidden(
            SIZE_PATH,
            f'StorageClass "{name}" does not let its volumes grow: set its allowVolumeExpansion',
        )


async def _check_move(context: Disk) -> None:
    """A disk that is there moves to the class that it names; one that is on its way may only be sent back."""
    wanted, former = (_claim(spec).get("storageClassName") for spec in (context.spec, context.old_spec))
    status = None if context.old is None else context.old.get("status")
    has = "" if status is None else status.get("storageClassName") or ""
    if not wanted or wanted in (former, has):
        return
    if context.phase == VirtualDiskPhase.MIGRATING:
        context.forbidden(
            CLASS_PATH,
            f'the disk is being moved to StorageClass "{former}": until that is done it may only be set back to '
            f'"{has}"',
        )
    elif context.phase == VirtualDiskPhase.PVC_LOST:
        context.forbidden(CLASS_PATH, "the volume of the disk is lost: there is nothing to move")
    else:
        await check_class(context, context.policy.disk_classes, "disks")


async def _compare_with_image(context: Disk, size: int | None) -> None:
    """Warn early of what would end in phase Failed; the image may still change, so nothing is refused."""
    source = context.spec.get("dataSource") or {}
    reference = source.get("objectRef")
    if source.get("type") != DataSourceType.OBJECT_REF or reference is None:
        return
    kinds = {
        DiskObjectRefKind.VIRTUAL_IMAGE: VIRTUAL_IMAGE,
        DiskObjectRefKind.CLUSTER_VIRTUAL_IMAGE: CLUSTER_VIRTUAL_IMAGE,
    }
    kind = kinds.get(reference["kind"])
    image = await context.find(kind, reference["name"]) if kind else None
    status = None if image is None else image.get("status")
    if status is None:
        return
    if status.get("cdrom"):
        context.warn(f'{reference["kind"]} "{reference["name"]}" is an ISO image: a disk cannot be made from it')
    unpacked = (status.get("size") or {}).get("unpackedBytes")
    if size is not None and unpacked and size < int(unpacked):
        context.warn(
            f"{SIZE_PATH}: smaller than the image, which unpacks to {format_human(int(unpacked))}: "
            "the disk will fail to be provisioned"
        )


def _claim(spec: VirtualDiskSpec) -> VirtualDiskClaim:
    return spec.get("persistentVolumeClaim") or {}
