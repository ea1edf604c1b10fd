"""Views of what ``hyperd.resources.kinds.virtual_disk_snapshot`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.views.base import Condition, Resource


class VirtualDiskSnapshotSpec(TypedDict):
    virtualDiskName: str
    requiredConsistency: bool


class VirtualDiskSnapshotStatus(TypedDict):
    phase: NotRequired[SnapshotPhase]
    consistent: NotRequired[bool]
    volumeSnapshotName: NotRequired[str]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualDiskSnapshot(Resource):
    spec: VirtualDiskSnapshotSpec
    status: NotRequired[VirtualDiskSnapshotStatus]
