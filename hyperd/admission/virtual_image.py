"""Rules of VirtualImage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.admission.images import check_class, check_name, check_source
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
    if context.spec["storage"] == VirtualImageStorage.KUBERNETES:
        context.warn("spec.storage: Kubernetes is an old name: use PersistentVolumeClaim")
    await check_class(context, context.policy.image_classes, "images")
