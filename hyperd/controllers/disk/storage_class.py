"""Which StorageClass a disk is of, and what that says of its volume: whether, where and when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.disk.source import class_of_source
from hyperd.controllers.image import transfer
from hyperd.controllers.placement.interface import Placement
from hyperd.resources.all import NODE, STORAGE_CLASS, VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.data_source import DataSourceType, ReadyReason
from hyperd.resources.kinds.virtual_disk import (
    DiskReadyReason,
    DiskStorageClassReason,
    VirtualDiskCondition,
    VirtualDiskPhase,
)
from hyperd.resources.values import meta
from hyperd.resources.values.conditions import set_condition
from hyperd.resources.values.meta import labels
from hyperd.resources.values.names import LAZY_ANNOTATION
from hyperd.runtime.operations.record import Record
from hyperd.settings import Settings

if TYPE_CHECKING:
    from hyperd.resources.views.core import StorageClass
    from hyperd.resources.views.virtual_disk import VirtualDisk

PROVISIONED: Final = (
    VirtualDiskPhase.READY,
    VirtualDiskPhase.RESIZING,
    VirtualDiskPhase.EXPORTING,
    VirtualDiskPhase.MIGRATING,
    VirtualDiskPhase.PVC_LOST,
)
"""Phases of disks that have had their volume."""
VOLUME_STEP: Final = "make"
"""Of the operation that fills a disk: whatever had to come is here, its volume is made."""
AWAITS_CONSUMER: Final = "The volume is made once a virtual machine uses the disk."
_FIRST_CONSUMER: Final = (VirtualDiskPhase.WAIT_FOR_FIRST_CONSUMER, DiskReadyReason.WAITING_FOR_FIRST_CONSUMER)


class DiskClasses:
    """Asks classes and node about disks; the answers are conditions of the disk, set in place."""

    def __init__(self, context: Context, placement: Placement) -> None:
        self._context = context
        self._placement = placement
        usage.index_machines(context.informer(VIRTUAL_MACHINE))
        self._classes = context.informer(STORAGE_CLASS)
        self._nodes = context.informer(NODE)

    def of(self, disk: VirtualDisk) -> StorageClass | None:
        """The disk's class. None where it makes no volume, as conditions then say; what has one keeps it."""
        status = disk["status"]
        provisioned = status.get("phase") in PROVISIONED
        named = (disk["spec"].get("persistentVolumeClaim") or {}).get("storageClassName")
        has = status.get("storageClassName") if provisioned else ""
        name = has or named
        name = name or class_of_source(self._context, disk) or self._default_class()
        class_ = self._classes.get("", name) if name else None
        if class_ is None:
            message = f'StorageClass "{name}" does not exist.' if name else storage_class.NO_DEFAULT
        else:
            allowed = () if provisioned else self._context.settings.virtual_disks.allowed_storage_classes
            message = storage_class.not_allowed(name, allowed, "disks")
            message = message or self._fault(class_)
        if name:
            status["storageClassName"] = name
        else:
            status.pop("storageClassName", None)
        if message:
            reason = DiskStorageClassReason.STORAGE_CLASS_NOT_READY
            set_condition(disk, VirtualDiskCondition.STORAGE_CLASS_READY, False, reason=reason, message=message)
            if not provisioned:
                _wait(disk, VirtualDiskPhase.PENDING, DiskReadyReason.STORAGE_CLASS_IS_NOT_READY, message)
            return None
        reason = DiskStorageClassReason.STORAGE_CLASS_READY
        set_condition(disk, VirtualDiskCondition.STORAGE_CLASS_READY, True, reason=reason)
        return class_

    def _default_class(self) -> str:
        """The class of disks that name none, empty when there is none.

        A cluster's default may be for Pods alone: there the class of the nodes' own pools stands in for it.
        """
        if named := self._context.settings.virtual_disks.default_storage_class:
            return named
        own = self._context.settings.storage.storage_class
        default = storage_class.default_of(item.object() for item in self._classes.items())
        if self._context.ownership.binds and (default is None or self._fault(default)):
            return own
        return "" if default is None else str(default["metadata"]["name"])

    def _fault(self, class_: StorageClass) -> str:
        volumes = self._context.volumes
        return storage_class.fault(class_, volumes.provisioners, claims=volumes.claims)

    def allows(self, disk: VirtualDisk, class_: StorageClass) -> bool:
        """Whether the volume may be made now; if not, the conditions say what it waits for."""
        node, name = self._nodes.get("", self._context.node_name), self._context.node_name
        if unfit := self._placement.unfit_for_disks():
            _wait(disk, VirtualDiskPhase.PENDING, ReadyReason.PROVISIONING_NOT_STARTED, unfit)
        elif node is not None and not storage_class.allows_node(class_, labels(node)):
            message = (
                f'StorageClass "{class_["metadata"]["name"]}" does not allow node {name} (allowedTopologies).'
            )
            _wait(disk, VirtualDiskPhase.PENDING, ReadyReason.PROVISIONING_NOT_STARTED, message)
        elif storage_class.is_others(class_, self._context.volumes.provisioners) and (
            awaited := self._placement.awaited_for(disk)
        ):
            if storage_class.waits_for_consumer(class_):
                _wait(disk, *_FIRST_CONSUMER, awaited)
            else:
                _wait(disk, VirtualDiskPhase.PENDING, ReadyReason.PROVISIONING_NOT_STARTED, awaited)
        elif awaits_consumer(self._context, disk, class_) and not _takes_upload(disk):
            _wait(disk, *_FIRST_CONSUMER, AWAITS_CONSUMER)
        else:
            return True
        return False


def awaits_consumer(context: Context, disk: VirtualDisk, class_: StorageClass) -> bool:
    """Whether no machine uses a disk whose volume is made for the first one."""
    if not storage_class.waits_for_consumer(class_):
        return False
    meta, machines = disk["metadata"], context.informer(VIRTUAL_MACHINE)
    users = usage.machines_using(machines, VIRTUAL_DISK, meta["namespace"], meta["name"])
    return all(user.object()["metadata"].get("deletionTimestamp") for user in users)


def show_awaiting_consumer(disk: VirtualDisk) -> None:
    """Nothing is made before a machine uses the disk."""
    _wait(disk, *_FIRST_CONSUMER, AWAITS_CONSUMER)


def _takes_upload(disk: VirtualDisk) -> bool:
    """Whether somebody may send its content: that goes to the registry, before there is a machine too."""
    uploaded = (disk["spec"].get("dataSource") or {}).get("type") == DataSourceType.UPLOAD
    return uploaded and not _has_come(disk)


def _has_come(disk: VirtualDisk) -> bool:
    record = Record.of(disk)
    return record is not None and record.step == VOLUME_STEP


def may_be_lazy(settings: Settings, disk: VirtualDisk, class_: StorageClass | None) -> bool:
    """Whether the disk may be used before its image is on the node.

    The administrator's settings and class say so; whose disk it is may say no.
    """
    if meta.annotations(disk).get(LAZY_ANNOTATION) == "false":
        return False
    said = {} if class_ is None else meta.annotations(class_)
    return said.get(LAZY_ANNOTATION, "true" if settings.imports.lazy else "false") == "true"


def _wait(disk: VirtualDisk, phase: VirtualDiskPhase, reason: ReadyReason | DiskReadyReason, message: str) -> None:
    disk["status"]["phase"] = phase
    if not _has_come(disk):
        transfer.stop_progress(disk["status"])
    disk["status"]["observedGeneration"] = disk["metadata"]["generation"]
    set_condition(disk, VirtualDiskCondition.READY, False, reason=reason, message=message)
