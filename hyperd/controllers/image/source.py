"""Where an image comes from, by what is there now; and what it waits for, where that cannot be read yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.image.reference import reference_of
from hyperd.controllers.image.volume import on_volume
from hyperd.controllers.ownership import disk_node
from hyperd.controllers.readiness import unready
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT
from hyperd.resources.kinds.data_source import DataSourceType
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from hyperd.resources.kinds.virtual_image import ImageDatasourceReason, ImagePhase
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.meta import Key

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image

SOURCE_INDEX: Final = "source"
"""Of informers of images: by the object that they are made of."""

IMPORTED: Final = (DataSourceType.HTTP, DataSourceType.CONTAINER_IMAGE, DataSourceType.UPLOAD)
"""Types of which the bytes come from elsewhere into the registry, under the object's own tag."""


@dataclass(frozen=True)
class FromElsewhere:
    """What is fetched, or sent by somebody."""


@dataclass(frozen=True)
class FromImage:
    """Another image, by its registryURL, and its uid."""

    reference: str
    uid: str


@dataclass(frozen=True)
class FromVolume:
    """Another image, which is on a volume, by its uid."""

    uid: str


@dataclass(frozen=True)
class FromDisk:
    """A disk of this node that nobody uses."""

    key: Key
    uid: str


@dataclass(frozen=True)
class FromSnapshot:
    """A snapshot of a disk, by its uid."""

    uid: str


@dataclass(frozen=True)
class Waiting:
    """The source is not there yet: the reason of ``DatasourceReady``, and why."""

    reason: ImageDatasourceReason
    message: str


Source = FromElsewhere | FromImage | FromVolume | FromDisk | FromSnapshot
SOURCE_KINDS: Final[Sequence[Kind]] = (*usage.DEVICE_KINDS.values(), VIRTUAL_DISK_SNAPSHOT)
"""What images may be made of."""


def source_of(context: Context, image: Image) -> Source | Waiting:
    """What the image is to be made of, or what it waits for."""
    declared = image["spec"]["dataSource"]
    type_ = declared.get("type")
    if type_ in IMPORTED:
        return FromElsewhere()
    if (key := source_key(image)) is None:
        message = f"Data source {type_} is not known in this version."
        return Waiting(ImageDatasourceReason.IMAGE_NOT_READY, message)
    kind = declared["objectRef"]["kind"]
    if kind in usage.IMAGE_KINDS:
        return _image(context, usage.IMAGE_KINDS[kind], key)
    if kind == VIRTUAL_DISK.kind:
        return _disk(context, key)
    return _snapshot(context, key)


def source_key(image: Image) -> Key | None:
    """Namespace and name of the object that the image refers to; None where it refers to none."""
    ref = image["spec"]["dataSource"].get("objectRef")
    if ref is None:
        return None
    if ref["kind"] == CLUSTER_VIRTUAL_IMAGE.kind:
        return Key("", ref["name"])
    named = ref.get("namespace") if image["kind"] == CLUSTER_VIRTUAL_IMAGE.kind else None
    return Key(str(named or image["metadata"].get("namespace") or ""), ref["name"])


def source_values(image: Image) -> Sequence[str]:
    """The index value of that object, to find the images that are made of it."""
    ref, key = image["spec"]["dataSource"].get("objectRef"), source_key(image)
    return [] if ref is None or key is None else [usage.device_value(ref["kind"], *key)]


def reads(image: Image) -> bool:
    """Whether the image's content is being made now, of what ``source_values`` names."""
    return (image.get("status") or {}).get("phase") == ImagePhase.PROVISIONING


def _image(context: Context, kind: Kind[Image], key: Key) -> Source | Waiting:
    reason = (
        ImageDatasourceReason.CLUSTER_IMAGE_NOT_READY
        if kind is CLUSTER_VIRTUAL_IMAGE
        else ImageDatasourceReason.IMAGE_NOT_READY
    )
    found = context.informer(kind).get(*key)
    why = unready(kind, key.name, found)
    if found is None or why:
        return Waiting(reason, why)
    if on_volume(found):
        return FromVolume(found["metadata"]["uid"])
    return FromImage(reference_of(context, kind, found), found["metadata"]["uid"])


def _snapshot(context: Context, key: Key) -> Source | Waiting:
    reason = ImageDatasourceReason.VIRTUAL_DISK_SNAPSHOT_NOT_READY
    found = context.informer(VIRTUAL_DISK_SNAPSHOT).get(*key)
    why = unready(VIRTUAL_DISK_SNAPSHOT, key.name, found)
    if found is None or why:
        return Waiting(reason, why)
    return FromSnapshot(found["metadata"]["uid"])


def _disk(context: Context, key: Key) -> Source | Waiting:
    found = context.informer(VIRTUAL_DISK).get(*key)
    reason = ImageDatasourceReason.VIRTUAL_DISK_NOT_READY
    if found is None:
        return Waiting(reason, f'VirtualDisk "{key.name}" does not exist.')
    phase = (found.get("status") or {}).get("phase") or VirtualDiskPhase.PENDING
    if phase != VirtualDiskPhase.READY:
        return Waiting(reason, f'VirtualDisk "{key.name}" is {phase}, not Ready.')
    if found["metadata"].get("deletionTimestamp"):
        reason = ImageDatasourceReason.VIRTUAL_DISK_NOT_READY_FOR_USE
        return Waiting(reason, f'VirtualDisk "{key.name}" is being deleted.')
    if not context.ownership.keeps(found):
        reason = ImageDatasourceReason.VIRTUAL_DISK_NOT_READY_FOR_USE
        return Waiting(
            reason,
            f'VirtualDisk "{key.name}" is on node {disk_node(found)}, and images are made on '
            f"{context.node_name}: images of other nodes' disks are not built yet.",
        )
    if machine := usage.running_user(context, *key):
        reason = ImageDatasourceReason.VIRTUAL_DISK_ATTACHED_TO_VIRTUAL_MACHINE
        return Waiting(reason, f'VirtualMachine "{machine}" uses VirtualDisk "{key.name}"; stop it first.')
    return FromDisk(key, found["metadata"]["uid"])
