"""Views of what ``hyperd.resources.kinds.virtual_machine_snapshot_operation`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine_snapshot_operation import SnapshotOperationPhase, SnapshotOperationType
from hyperd.resources.views.base import Condition, Resource, Timer
from hyperd.resources.views.virtual_machine_operation import CloneOptions, OperationResource


class VirtualMachineSnapshotOperationSpec(TypedDict):
    type: SnapshotOperationType
    virtualMachineSnapshotName: str
    createVirtualMachine: NotRequired[CloneOptions]


class VirtualMachineSnapshotOperationStatus(TypedDict):
    phase: NotRequired[SnapshotOperationPhase]
    resources: NotRequired[list[OperationResource]]
    retentionTimer: NotRequired[Timer]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachineSnapshotOperation(Resource):
    spec: VirtualMachineSnapshotOperationSpec
    status: NotRequired[VirtualMachineSnapshotOperationStatus]
