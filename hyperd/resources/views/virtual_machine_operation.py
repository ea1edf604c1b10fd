"""Views of what ``hyperd.resources.kinds.virtual_machine_operation`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine_operation import (
    OperationMode,
    OperationPhase,
    OperationType,
    ResourceStatus,
)
from hyperd.resources.views.base import Condition, Resource, Timer


class MigrateOptions(TypedDict):
    nodeSelector: NotRequired[dict[str, str]]


class RestoreOptions(TypedDict):
    mode: OperationMode
    virtualMachineSnapshotName: str


class CloneCustomization(TypedDict):
    namePrefix: NotRequired[str]
    nameSuffix: NotRequired[str]


class ReplacedName(TypedDict):
    kind: NotRequired[str]
    name: str


NameReplacement = TypedDict(
    "NameReplacement",
    {
        "from": ReplacedName,
        "to": str,
    },
)


class CloneOptions(TypedDict):
    mode: OperationMode
    customization: NotRequired[CloneCustomization]
    nameReplacement: NotRequired[list[NameReplacement]]


class VirtualMachineOperationSpec(TypedDict):
    type: OperationType
    virtualMachineName: str
    force: NotRequired[bool]
    migrate: NotRequired[MigrateOptions]
    restore: NotRequired[RestoreOptions]
    clone: NotRequired[CloneOptions]


class OperationResource(TypedDict):
    apiVersion: str
    kind: str
    name: str
    status: ResourceStatus
    message: NotRequired[str]


class VirtualMachineOperationStatus(TypedDict):
    phase: NotRequired[OperationPhase]
    progress: NotRequired[str]
    resources: NotRequired[list[OperationResource]]
    wasRunning: NotRequired[bool]
    conditions: NotRequired[list[Condition]]
    stageTimer: NotRequired[Timer]
    retentionTimer: NotRequired[Timer]
    observedGeneration: NotRequired[int]


class VirtualMachineOperation(Resource):
    spec: VirtualMachineOperationSpec
    status: NotRequired[VirtualMachineOperationStatus]
