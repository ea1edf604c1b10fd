"""Rules of VirtualImage."""

from __future__ import annotations

from hyperd.admission.context import Context
from hyperd.admission.images import check_name, check_source
from hyperd.resources.all import STORAGE_CLASS
from hyperd.resources.kinds.virtual_image import VirtualImageStorage


async def review(context: Context) -> None:
    """Judge name, source and class."""
    check_name(context)
    if not context.spec_changed:
        return
    check_source(context)
    if context.spec["storage"] == VirtualImageStorage.KUBERNETES:
        context.warn("spec.storage: Kubernetes is an old name: use PersistentVolumeClaim")
    await _check_storage_class(context)


async def _check_storage_class(context: Context) -> None:
    name = _storage_class(context.spec)
    if name and await context.find(STORAGE_CLASS, name) is None:
        context.invalid(
            "spec.persistentVolumeClaim.storageClassName", name, f'StorageClass "{name}" does not exist'
        )


def _storage_class(spec: dict[str, object]) -> str:
    claim = spec.get("persistentVolumeClaim")
    return str(claim.get("storageClassName") or "") if isinstance(claim, dict) else ""
