"""Views of what ``hyperd.resources.kinds.virtual_disk`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.data_source import DataSourceType
from hyperd.resources.kinds.virtual_disk import DiskObjectRefKind, MigrationResult, VirtualDiskPhase
from hyperd.resources.views.base import Condition, OperationRecord, Resource
from hyperd.resources.views.data_source import (
    ContainerImageSource,
    DownloadSpeed,
    HTTPSource,
    ImageUploadURLs,
    Retry,
    UploadSource,
)


class DiskObjectRef(TypedDict):
    kind: DiskObjectRefKind
    name: str


class DiskDataSource(TypedDict):
    type: NotRequired[DataSourceType]
    http: NotRequired[HTTPSource]
    containerImage: NotRequired[ContainerImageSource]
    objectRef: NotRequired[DiskObjectRef]
    upload: NotRequired[UploadSource]


class VirtualDiskClaim(TypedDict):
    size: NotRequired[str | int]
    storageClassName: NotRequired[str]


class VirtualDiskSpec(TypedDict):
    dataSource: NotRequired[DiskDataSource]
    persistentVolumeClaim: NotRequired[VirtualDiskClaim]


class VirtualDiskTarget(TypedDict):
    persistentVolumeClaimName: NotRequired[str]
    size: NotRequired[str]
    provisioner: NotRequired[str]


class AttachedVirtualMachine(TypedDict):
    name: str
    mounted: bool


class CreationDuration(TypedDict):
    waitingForDependencies: NotRequired[str]
    waitingForFirstConsumer: NotRequired[str]
    dvcrProvisioning: NotRequired[str]
    totalProvisioning: NotRequired[str]


class VirtualDiskStats(TypedDict):
    creationDuration: NotRequired[CreationDuration]


class DiskMigrationState(TypedDict):
    sourcePVC: NotRequired[str]
    targetPVC: NotRequired[str]
    startTimestamp: NotRequired[str]
    endTimestamp: NotRequired[str]
    result: NotRequired[MigrationResult]
    message: NotRequired[str]


class VirtualDiskStatus(TypedDict):
    phase: NotRequired[VirtualDiskPhase]
    capacity: NotRequired[str]
    progress: NotRequired[str]
    downloadSpeed: NotRequired[DownloadSpeed]
    retry: NotRequired[Retry]
    operation: NotRequired[OperationRecord]
    imageUploadURLs: NotRequired[ImageUploadURLs]
    uploadCommand: NotRequired[str]
    storageClassName: NotRequired[str]
    sourceUID: NotRequired[str]
    target: NotRequired[VirtualDiskTarget]
    attachedToVirtualMachines: NotRequired[list[AttachedVirtualMachine]]
    stats: NotRequired[VirtualDiskStats]
    migrationState: NotRequired[DiskMigrationState]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualDisk(Resource):
    spec: VirtualDiskSpec
    status: NotRequired[VirtualDiskStatus]
