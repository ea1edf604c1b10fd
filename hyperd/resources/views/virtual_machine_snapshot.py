"""Views of what ``hyperd.resources.kinds.virtual_machine_snapshot`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.kinds.virtual_machine_snapshot import KeepIPAddress
from hyperd.resources.views.base import Condition, OperationRecord, Resource
from hyperd.resources.views.data_source import Retry


class VirtualMachineSnapshotSpec(TypedDict):
    virtualMachineName: str
    requiredConsistency: bool
    keepIPAddress: KeepIPAddress


class SavedResource(TypedDict):
    apiVersion: NotRequired[str]
    kind: NotRequired[str]
    name: NotRequired[str]


class VirtualMachineSnapshotStatus(TypedDict):
    phase: NotRequired[SnapshotPhase]
    consistent: NotRequired[bool]
    virtualDiskSnapshotNames: NotRequired[list[str]]
    virtualMachineSnapshotSecretName: NotRequired[str]
    retry: NotRequired[Retry]
    operation: NotRequired[OperationRecord]
    resources: NotRequired[list[SavedResource]]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachineSnapshot(Resource):
    spec: VirtualMachineSnapshotSpec
    status: NotRequired[VirtualMachineSnapshotStatus]
