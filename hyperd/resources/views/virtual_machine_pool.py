"""Views of what ``hyperd.resources.kinds.virtual_machine_pool`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine import BlockDeviceKind, Bootloader, OsType, RunPolicy
from hyperd.resources.kinds.virtual_machine_pool import OnScaleDown, ScaleDownPolicy
from hyperd.resources.views.base import Condition, Resource, Timer
from hyperd.resources.views.placement import Affinity, Toleration, TopologySpreadConstraint
from hyperd.resources.views.virtual_disk import VirtualDiskSpec
from hyperd.resources.views.virtual_machine import (
    CPU,
    GPU,
    Disruptions,
    Memory,
    Network,
    Provisioning,
    USBDeviceRef,
)


class DiskReclaim(TypedDict):
    onScaleDown: OnScaleDown
    keep: int
    ttl: NotRequired[str]


class DiskTemplate(TypedDict):
    name: str
    reclaim: DiskReclaim
    spec: VirtualDiskSpec


class TemplateMetadata(TypedDict):
    labels: NotRequired[dict[str, str]]
    annotations: NotRequired[dict[str, str]]


class PoolDeviceRef(TypedDict):
    kind: BlockDeviceKind
    name: str
    bootOrder: NotRequired[int]


class PoolMachineSpec(TypedDict):
    virtualMachineClassName: str
    runPolicy: RunPolicy
    cpu: CPU
    memory: Memory
    blockDeviceRefs: list[PoolDeviceRef]
    disruptions: Disruptions
    terminationGracePeriodSeconds: int
    osType: OsType
    bootloader: Bootloader
    enableParavirtualization: bool
    provisioning: NotRequired[Provisioning]
    liveMigrationPolicy: str
    virtualMachineIPAddressName: NotRequired[str]
    networks: NotRequired[list[Network]]
    nodeSelector: NotRequired[dict[str, str]]
    tolerations: NotRequired[list[Toleration]]
    affinity: NotRequired[Affinity]
    topologySpreadConstraints: NotRequired[list[TopologySpreadConstraint]]
    priorityClassName: NotRequired[str]
    usbDevices: NotRequired[list[USBDeviceRef]]
    gpus: NotRequired[list[GPU]]


class MachineTemplate(TypedDict):
    metadata: NotRequired[TemplateMetadata]
    spec: PoolMachineSpec


class VirtualMachinePoolSpec(TypedDict):
    replicas: NotRequired[int]
    scaleDownPolicy: ScaleDownPolicy
    virtualDiskTemplates: list[DiskTemplate]
    virtualMachineTemplate: MachineTemplate


class PoolCreation(TypedDict):
    name: str
    disks: dict[str, str]


class FreeDisk(TypedDict):
    name: str
    uid: str
    timer: Timer


class VirtualMachinePoolStatus(TypedDict):
    replicas: NotRequired[int]
    readyReplicas: NotRequired[int]
    updatedReplicas: NotRequired[int]
    restartPendingReplicas: NotRequired[int]
    desiredTemplateHash: NotRequired[str]
    selector: NotRequired[str]
    creating: NotRequired[list[PoolCreation]]
    freeDisks: NotRequired[list[FreeDisk]]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachinePool(Resource):
    spec: VirtualMachinePoolSpec
    status: NotRequired[VirtualMachinePoolStatus]
