"""Rules of VirtualImage."""

from __future__ import annotations

from hyperd.admission.context import Context
from hyperd.admission.images import PROVISIONED_PHASES, check_name, check_source
from hyperd.resources.all import STORAGE_CLASS
from hyperd.resources.kinds.virtual_image import VirtualImageStorage


async def review(context: Context) -> None:
    """Once the image is there, what it was made from stays."""
    check_name(context)
    if not context.spec_changed:
        return
    check_source(context)
    if context.phase in PROVISIONED_PHASES:
        _check_unchanged(context)
    if context.spec["storage"] == VirtualImageStorage.KUBERNETES:
        context.warn("spec.storage: Kubernetes is an old name: use PersistentVolumeClaim")
    await _check_storage_class(context)


def _check_unchanged(context: Context) -> None:
    if context.spec.get("dataSource") != context.old_spec.get("dataSource"):
        context.forbidden(
            "spec.dataSource", "data source cannot be changed: the VirtualImage has already been provisioned"
        )
    if _storage_class(context.spec) != _storage_class(context.old_spec):
        context.forbidden(
            "spec.persistentVolumeClaim.storageClassName",
            "storage class cannot be changed: the VirtualImage has already been provisioned",
        )


async def _check_storage_class(context: Context) -> None:
    name = _storage_class(context.spec)
    if name and await context.find(STORAGE_CLASS, name) is None:
        context.invalid(
            "spec.persistentVolumeClaim.storageClassName", name, f'StorageClass "{name}" does not exist'
        )


def _storage_class(spec: dict[str, object]) -> str:
    claim = spec.get("persistentVolumeClaim")
    return str(claim.get("storageClassName") or "") if isinstance(claim, dict) else ""
