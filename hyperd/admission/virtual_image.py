"""Rules of VirtualImage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.admission.images import CLASS_PATH, check_class, check_name, check_source, compare_provisioners
from hyperd.resources.all import STORAGE_CLASS
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.virtual_image import VirtualImageStorage

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_image import VirtualImage, VirtualImageSpec

    Image = Context[VirtualImage, VirtualImageSpec]


async def review(context: Image) -> None:
    """Judge name, source and class."""
    check_name(context)
    if not context.spec_changed:
        return
    check_source(context)
    if context.spec["storage"] == VirtualImageStorage.CONTAINER_REGISTRY:
        return
    if context.spec["storage"] == VirtualImageStorage.KUBERNETES:
        context.warn("spec.storage: Kubernetes is an old name: use PersistentVolumeClaim")
    await check_class(context, context.policy.image_classes, "images")
    await compare_provisioners(context)
    if context.creating:
        await _require_class(context)


async def _require_class(context: Image) -> None:
    """One that is named, or a default."""
    named = (context.spec.get("persistentVolumeClaim") or {}).get("storageClassName")
    if named or context.policy.image_classes.default_storage_class:
        return
    if storage_class.default_of(await context.request.reader.find_all(STORAGE_CLASS)) is None:
        context.required(CLASS_PATH, storage_class.NO_DEFAULT)
