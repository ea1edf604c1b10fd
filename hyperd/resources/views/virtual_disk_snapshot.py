"""Views of what ``hyperd.resources.kinds.virtual_disk_snapshot`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.views.base import Condition, OperationRecord, Resource
from hyperd.resources.views.data_source import Retry


class VirtualDiskSnapshotSpec(TypedDict):
    virtualDiskName: str
    requiredConsistency: bool


class SnapshotSource(TypedDict):
    uid: str
    size: str
    storageClassName: NotRequired[str]
    labels: NotRequired[dict[str, str]]
    annotations: NotRequired[dict[str, str]]
    owned: NotRequired[bool]


class VirtualDiskSnapshotStatus(TypedDict):
    phase: NotRequired[SnapshotPhase]
    consistent: NotRequired[bool]
    volumeSnapshotName: NotRequired[str]
    source: NotRequired[SnapshotSource]
    retry: NotRequired[Retry]
    operation: NotRequired[OperationRecord]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualDiskSnapshot(Resource):
    spec: VirtualDiskSnapshotSpec
    status: NotRequired[VirtualDiskSnapshotStatus]
