"""Views of what ``hyperd.resources.kinds.virtual_machine_block_device_attachment`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine import BlockDeviceKind
from hyperd.resources.kinds.virtual_machine_block_device_attachment import AttachmentPhase
from hyperd.resources.views.base import Condition, Resource


class AttachedDeviceRef(TypedDict):
    kind: NotRequired[BlockDeviceKind]
    name: NotRequired[str]


class VirtualMachineBlockDeviceAttachmentSpec(TypedDict):
    blockDeviceRef: AttachedDeviceRef
    virtualMachineName: str


class VirtualMachineBlockDeviceAttachmentStatus(TypedDict):
    phase: NotRequired[AttachmentPhase]
    virtualMachineName: NotRequired[str]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachineBlockDeviceAttachment(Resource):
    spec: VirtualMachineBlockDeviceAttachmentSpec
    status: NotRequired[VirtualMachineBlockDeviceAttachmentStatus]
