"""An image on a volume: of which StorageClass, made from what is in the registry, and whether it is still there.

The volume is called by the image's uid, as a disk's is by the disk's. Its image in the registry is a station on
the way, which the registry's collection takes once the volume is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from hyperd.controllers.claims import first_claim
from hyperd.controllers.context import Context
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_IMAGE
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_image import (
    ImageCondition,
    ImagePhase,
    ImageReadyReason,
    ImageStorageClassReason,
    VirtualImageStorage,
)
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values.conditions import remove_condition, set_condition

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image
    from hyperd.resources.views.virtual_image import VirtualImage

_IN_A_CLUSTER = "Images on volumes are not built yet in a cluster: use storage ContainerRegistry."


def on_volume(image: AnyObject) -> TypeGuard[VirtualImage]:
    """Whether it is an image that is to be on a volume, and not in the registry."""
    if image["kind"] != VIRTUAL_IMAGE.kind:
        return False
    return image["spec"].get("storage") not in (None, VirtualImageStorage.CONTAINER_REGISTRY)


def was_on_volume(image: AnyObject) -> bool:
    """Whether there may be a volume of it, whatever its spec says by now."""
    return on_volume(image) or bool((image.get("status") or {}).get("storageClassName"))


def class_name_of(image: VirtualImage) -> str:
    """The StorageClass of an image that is Ready, or is being made."""
    return (image.get("status") or {}).get("storageClassName") or ""


def provisioner_of(context: Context, image: AnyObject) -> str:
    """Of the volume that the image is to be on; empty where it is to be in the registry, or nobody knows."""
    if not on_volume(image):
        return ""
    class_ = context.informer(STORAGE_CLASS).get("", class_name_of(image))
    return "" if class_ is None else class_["provisioner"]


def choose_class(context: Context, image: Image) -> str:
    """Have the image's class stand in its status; a sentence where none makes a volume, as conditions then say."""
    if not on_volume(image):
        remove_condition(image, ImageCondition.STORAGE_CLASS_READY)
        return ""
    status, settings = image["status"], context.settings
    name = (image["spec"].get("persistentVolumeClaim") or {}).get("storageClassName")
    name = name or settings.virtual_images.default_storage_class or _default(context)
    class_ = context.informer(STORAGE_CLASS).get("", name) if name else None
    if context.ownership.binds:
        message = _IN_A_CLUSTER
    elif class_ is None:
        message = f'StorageClass "{name}" does not exist.' if name else storage_class.NO_DEFAULT
    else:
        allowed = settings.virtual_images.allowed_storage_classes
        message = storage_class.not_allowed(name, allowed, "images")
        message = message or storage_class.fault(class_, context.volumes.provisioners)
    if message or status.get("storageClassName") != name:
        status.pop("target", None)  # a claim is of one class
    if message:
        status.pop("storageClassName", None)
        reason = ImageStorageClassReason.STORAGE_CLASS_NOT_FOUND
        set_condition(image, ImageCondition.STORAGE_CLASS_READY, False, reason=reason, message=message)
        not_ready = ImageReadyReason.STORAGE_CLASS_NOT_READY
        set_condition(image, ImageCondition.READY, False, reason=not_ready, message=message)
        return message
    status["storageClassName"] = name
    reason = ImageStorageClassReason.STORAGE_CLASS_READY
    set_condition(image, ImageCondition.STORAGE_CLASS_READY, True, reason=reason)
    return ""


def _default(context: Context) -> str:
    default = storage_class.default_of(item.object() for item in context.informer(STORAGE_CLASS).items())
    return "" if default is None else str(default["metadata"]["name"])


def show_volume(image: VirtualImage) -> None:
    """Where the image is."""
    image["status"]["target"] = {"persistentVolumeClaimName": first_claim(image)}


async def watch_over(context: Context, image: VirtualImage) -> bool:
    """A volume can be lost, and come back; whether it came back just now."""
    status, meta = image["status"], image["metadata"]
    present = await context.volumes.find(meta["uid"]) is not None
    if not present and status["phase"] == ImagePhase.READY:
        message = f"The volume of image {meta['name']} is gone from the node's pool."
        status["phase"] = ImagePhase.PVC_LOST
        set_condition(image, ImageCondition.READY, False, reason=ImageReadyReason.PVC_LOST, message=message)
    elif present and status["phase"] == ImagePhase.PVC_LOST:
        status["phase"] = ImagePhase.READY
        set_condition(image, ImageCondition.READY, True, reason=ReadyReason.READY)
        return True
    return False
