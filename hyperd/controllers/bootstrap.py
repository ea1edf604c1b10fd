"""What a fresh store begins with: the default StorageClass and, once, the class ``generic``.

The class is the administrator's to change or delete, so a record in kube-system says that it was made.
"""

from __future__ import annotations

from contextlib import suppress

from hyperd.errors import AlreadyExists, NotFound
from hyperd.resources import names
from hyperd.resources.all import CONFIG_MAP, STORAGE_CLASS, VIRTUAL_MACHINE_CLASS
from hyperd.resources.kind import Object
from hyperd.settings import Settings
from hyperd.store.interface import Store

SYSTEM_NAMESPACE = "kube-system"
RECORD = "hyperd-bootstrap"


async def bootstrap(store: Store, settings: Settings) -> None:
    """Make what is missing; safe to run at every start."""
    with suppress(AlreadyExists):
        await store.create(STORAGE_CLASS, "", _storage_class(settings.storage.storage_class))
    try:
        await store.get(CONFIG_MAP, SYSTEM_NAMESPACE, RECORD)
    except NotFound:
        with suppress(AlreadyExists):
            await store.create(VIRTUAL_MACHINE_CLASS, "", _generic_class())
        record: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": RECORD, "namespace": SYSTEM_NAMESPACE},
            "data": {"virtualMachineClass": "generic"},
        }
        with suppress(AlreadyExists):
            await store.create(CONFIG_MAP, SYSTEM_NAMESPACE, record)


def _storage_class(name: str) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {names.DEFAULT_STORAGE_CLASS_ANNOTATION: "true"},
        },
        "provisioner": "hyperd.local/directory",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": True,
    }


def _generic_class() -> Object:
    def policy(low: int, high: int, fractions: list[int], dedicated: list[bool]) -> Object:
        return {"cores": {"min": low, "max": high}, "coreFractions": fractions, "dedicatedCores": dedicated}

    return {
        "apiVersion": VIRTUAL_MACHINE_CLASS.api_version,
        "kind": VIRTUAL_MACHINE_CLASS.kind,
        "metadata": {
            "name": "generic",
            "annotations": {names.DEFAULT_CLASS_ANNOTATION: "true"},
        },
        "spec": {
            "cpu": {"type": "Model", "model": "Nehalem"},
            "sizingPolicies": [
                policy(1, 4, [5, 10, 20, 50, 100], [False]),
                policy(5, 8, [20, 50, 100], [False]),
                policy(9, 16, [50, 100], [True, False]),
                policy(17, 1024, [100], [True, False]),
            ],
        },
    }
