"""Rules that images of both scopes and disks share."""

from __future__ import annotations

from typing import Final

from hyperd.admission.context import Context
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_IMAGE
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.virtual_image import VirtualImageStorage
from hyperd.settings import ClassRules

CLASS_PATH: Final = "spec.persistentVolumeClaim.storageClassName"


def check_name(context: Context) -> None:
    """No dots: the name becomes part of names that allow none. Old objects with dots only get a warning."""
    name = context.request.name
    if "." not in name:
        return
    text = f'the name of a {context.request.kind.kind} must not contain "."'
    if context.creating:
        context.invalid("metadata.name", name, text)
    else:
        context.warn(f"metadata.name: {text}")


async def check_class(context: Context, rules: ClassRules, of: str) -> None:
    """The class that an object names is there, makes volumes, and may be named; ``of`` are objects like it."""
    name = (context.spec.get("persistentVolumeClaim") or {}).get("storageClassName")
    if not name:
        return
    class_, claims = await context.find(STORAGE_CLASS, name), context.policy.claims and of == "disks"
    if class_ is None:
        context.invalid(CLASS_PATH, name, f'StorageClass "{name}" does not exist')
    elif forbidden := storage_class.not_allowed(name, rules.allowed_storage_classes, of):
        context.forbidden(CLASS_PATH, forbidden)
    elif fault := storage_class.fault(class_, context.policy.provisioners, claims=claims):
        context.warn(f"{CLASS_PATH}: {fault} It waits.")


def check_source(context: Context) -> None:
    """A source without a type would wait for ever."""
    source = context.spec.get("dataSource")
    if source is not None and "type" not in source:
        context.required("spec.dataSource.type", "one of HTTP, ContainerImage, ObjectRef, Upload")


async def compare_provisioners(context: Context) -> None:
    """What is on a volume becomes a volume where its provisioner makes them, as far as both are known by now."""
    reference = (context.spec.get("dataSource") or {}).get("objectRef")
    wanted = (context.spec.get("persistentVolumeClaim") or {}).get("storageClassName")
    if reference is None or not wanted or context.causes:
        return
    has = await _class_of(context, reference["kind"], reference["name"])
    if not has or has == wanted:
        return
    former, class_ = await context.find(STORAGE_CLASS, has), await context.find(STORAGE_CLASS, wanted)
    if former is None or class_ is None or former.get("provisioner") == class_.get("provisioner"):
        return
    context.forbidden(
        CLASS_PATH,
        f'{reference["kind"]} "{reference["name"]}" is of StorageClass "{has}", whose provisioner is another one '
        f'than that of "{wanted}"; name "{has}", or another one of its provisioner',
    )


async def _class_of(context: Context, kind: str, name: str) -> str:
    """The StorageClass of what an object is made of; empty where that is on no volume, or not known."""
    if kind == VIRTUAL_DISK_SNAPSHOT.kind:
        snapshot = await context.find(VIRTUAL_DISK_SNAPSHOT, name)
        source = None if snapshot is None else (snapshot.get("status") or {}).get("source")
        return "" if source is None else source.get("storageClassName", "")
    if kind == VIRTUAL_DISK.kind:
        disk = await context.find(VIRTUAL_DISK, name)
        return "" if disk is None else (disk.get("status") or {}).get("storageClassName", "")
    image = await context.find(VIRTUAL_IMAGE, name) if kind == VIRTUAL_IMAGE.kind else None
    if image is None or image["spec"].get("storage") == VirtualImageStorage.CONTAINER_REGISTRY:
        return ""
    return (image.get("status") or {}).get("storageClassName", "")
