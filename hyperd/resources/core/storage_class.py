"""What a StorageClass says of disks: which is the default, who makes its volumes and when, and whether they grow.

The rules are Kubernetes' for claims. What of a class would cost data if it were ignored makes it unusable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from hyperd.resources.schema.kind import AnyObject, V
from hyperd.resources.values import meta, names

PROVISIONER: Final = "hyperd.local/directory"
"""Of the class that a fresh store gets; makes volumes in a folder of the node."""
WAIT_FOR_FIRST_CONSUMER: Final = "WaitForFirstConsumer"
FILESYSTEM: Final = "Filesystem"
BLOCK: Final = "Block"
_ACCESS_MODES: Final = ("ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod")
_DEFAULT_MARKS: Final = (
    names.DEFAULT_STORAGE_CLASS_ANNOTATION,
    "storageclass.beta.kubernetes.io/is-default-class",
)
NO_DEFAULT: Final = (
    "There is no default StorageClass: name one in spec.persistentVolumeClaim.storageClassName, or mark one with "
    f'the annotation {names.DEFAULT_STORAGE_CLASS_ANNOTATION}="true".'
)


def is_default(class_: AnyObject) -> bool:
    """Whether the class is marked as the default."""
    return any(meta.annotations(class_).get(mark) == "true" for mark in _DEFAULT_MARKS)


def default_of(classes: Iterable[V]) -> V | None:
    """The class of disks that name none: the newest that is marked, of equally new ones the first by name."""
    marked = sorted((one for one in classes if is_default(one)), key=lambda one: str(one["metadata"]["name"]))
    return max(marked, key=lambda one: str(one["metadata"].get("creationTimestamp") or ""), default=None)


def is_others(class_: AnyObject, provisioners: Collection[str]) -> bool:
    """Whether its volumes are another's to make than those ``provisioners``, by a claim."""
    return (class_.get("provisioner") or "") not in provisioners


def fault(class_: AnyObject, provisioners: Collection[str], *, claims: bool = False) -> str:
    """Why no volume is made for a disk of the class, a sentence; empty when nothing is wrong with it.

    ``provisioners`` are those that there are; with ``claims`` others make volumes by claims.
    """
    name = class_["metadata"]["name"]
    provisioner = class_.get("provisioner") or ""
    there = ", ".join(f'"{one}"' for one in sorted(provisioners))
    if class_["metadata"].get("deletionTimestamp"):
        return f'StorageClass "{name}" is being deleted.'
    if is_others(class_, provisioners):
        if claims:
            return _claiming_fault(class_)
        return (
            f'StorageClass "{name}" has the provisioner "{provisioner}", which this version of hyperd makes no '
            f"volumes with; it has {there}."
        )
    if (class_.get("reclaimPolicy") or "Delete") != "Delete":
        return (
            f'StorageClass "{name}" has the reclaimPolicy {class_["reclaimPolicy"]}, which is not built yet: a '
            "volume goes with its disk. Use a class with Delete."
        )
    return ""


def _claiming_fault(class_: AnyObject) -> str:
    name, mode = class_["metadata"]["name"], volume_mode(class_)
    if mode not in (FILESYSTEM, BLOCK):
        return (
            f'StorageClass "{name}" asks for volumes of the mode {mode} (annotation '
            f"{names.STORAGE_CLASS_VOLUME_MODE_ANNOTATION}); use {FILESYSTEM} or {BLOCK}."
        )
    if access_mode(class_) not in _ACCESS_MODES:
        return (
            f'StorageClass "{name}" asks for the access mode {access_mode(class_)} (annotation '
            f"{names.STORAGE_CLASS_ACCESS_MODE_ANNOTATION}), which no disk can be written by; "
            f"use {' or '.join(_ACCESS_MODES)}."
        )
    return ""


def volume_mode(class_: AnyObject) -> str:
    """Of claims of the class: the reference's annotation says it; a folder else, as with Kubernetes."""
    return meta.annotations(class_).get(names.STORAGE_CLASS_VOLUME_MODE_ANNOTATION) or FILESYSTEM


def access_mode(class_: AnyObject) -> str:
    """Likewise; one node at a time else."""
    return meta.annotations(class_).get(names.STORAGE_CLASS_ACCESS_MODE_ANNOTATION) or _ACCESS_MODES[0]


def not_allowed(name: str, allowed: Collection[str], of: str) -> str:
    """Why ``of``, "disks" or "images", may not be of the class, a sentence; empty where they may.

    ``allowed`` are the names of those that they may be of; none means all.
    """
    if not allowed or name in allowed:
        return ""
    return f'StorageClass "{name}" is not allowed for {of} here; use {" or ".join(allowed)}.'


def waits_for_consumer(class_: AnyObject) -> bool:
    """Whether a disk's volume is made only once a machine uses the disk."""
    mode = meta.annotations(class_).get(names.STORAGE_CLASS_BINDING_MODE_ANNOTATION) or class_.get(
        "volumeBindingMode"
    )
    return mode == WAIT_FOR_FIRST_CONSUMER


def may_grow(class_: AnyObject) -> bool:
    """Whether volumes of the class may grow; where it does not say so they may not, as in Kubernetes."""
    return class_.get("allowVolumeExpansion") is True


def allows_node(class_: AnyObject, labels: dict[str, str]) -> bool:
    """Whether volumes of the class may be on a node with these labels."""
    choices = class_.get("allowedTopologies") or ()
    return not choices or any(
        all(
            labels.get((one or {}).get("key") or "") in ((one or {}).get("values") or ())
            for one in choice["matchLabelExpressions"]
        )
        for choice in choices
        if choice and choice.get("matchLabelExpressions")
    )
