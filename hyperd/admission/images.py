"""Rules that images of both scopes and disks share."""

from __future__ import annotations

from typing import Final

from hyperd.admission.context import Context
from hyperd.resources.all import STORAGE_CLASS
from hyperd.resources.core import storage_class
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
