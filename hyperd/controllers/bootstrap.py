"""What a store has from the start: a StorageClass for each pool of the settings and, once, the class ``generic``.

The class is the administrator's to change or delete, so a record says that it was made.
"""

from __future__ import annotations

from contextlib import suppress

from hyperd.errors import AlreadyExists, NotFound
from hyperd.resources.all import CONFIG_MAP, STORAGE_CLASS, VIRTUAL_MACHINE_CLASS
from hyperd.resources.core import storage_class
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import names
from hyperd.settings import PoolKind, Settings
from hyperd.store.interface import Store

CLUSTER_NAMESPACE = "kube-system"
RECORD = "hyperd-bootstrap"


async def bootstrap(store: Store, settings: Settings, *, namespace: str = CLUSTER_NAMESPACE) -> None:
    """Make what is missing; safe to run at every start. ``namespace`` is where the record is."""
    classes = await store.find_all(STORAGE_CLASS)
    there = {class_["metadata"]["name"] for class_ in classes}
    default = not any(storage_class.is_default(class_) for class_ in classes)
    wanted = [_storage_class(settings.storage.storage_class, storage_class.PROVISIONER, default=default)]
    wanted += [
        _storage_class(
            pool.class_name,
            pool.provisioner,
            late=pool.wait_for_first_consumer,
            block=pool.kind is PoolKind.BLOCK,
        )
        for pool in settings.storage.pools
    ]
    for class_ in wanted:
        if class_["metadata"]["name"] not in there:
            with suppress(AlreadyExists):
                await store.create(STORAGE_CLASS, "", class_)
    try:
        await store.get(CONFIG_MAP, namespace, RECORD)
    except NotFound:
        with suppress(AlreadyExists):
            await store.create(VIRTUAL_MACHINE_CLASS, "", _generic_class())
        record = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": RECORD, "namespace": namespace},
            "data": {"virtualMachineClass": "generic"},
        }
        with suppress(AlreadyExists):
            await store.create(CONFIG_MAP, namespace, record)


def _storage_class(
    name: str, provisioner: str, *, default: bool = False, late: bool = False, block: bool = False
) -> Object:
    metadata: Object = {"name": name}
    if block:
        metadata["annotations"] = {names.STORAGE_CLASS_VOLUME_MODE_ANNOTATION: "Block"}
    if default:
        metadata["annotations"] = {names.DEFAULT_STORAGE_CLASS_ANNOTATION: "true"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": metadata,
        "provisioner": provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": storage_class.WAIT_FOR_FIRST_CONSUMER if late else "Immediate",
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
