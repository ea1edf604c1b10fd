"""Views of what ``hyperd.resources.kinds.virtual_machine`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine import (
    BlockDeviceKind,
    Bootloader,
    LiveMigrationPolicy,
    NetworkType,
    OsType,
    ProvisioningType,
    RestartApprovalMode,
    RunPolicy,
    SecretKind,
)
from hyperd.resources.views.base import Resource
from hyperd.resources.views.placement import Affinity, Toleration, TopologySpreadConstraint
from hyperd.resources.views.virtual_machine_status import VirtualMachineStatus


class CPU(TypedDict):
    cores: int
    coreFraction: NotRequired[str]


class Memory(TypedDict):
    size: str | int


class BlockDeviceRef(TypedDict):
    kind: NotRequired[BlockDeviceKind]
    name: NotRequired[str]
    bootOrder: NotRequired[int]


class Disruptions(TypedDict):
    restartApprovalMode: RestartApprovalMode


class ProvisioningRef(TypedDict):
    kind: SecretKind
    name: str


class Provisioning(TypedDict):
    type: ProvisioningType
    userData: NotRequired[str]
    userDataRef: NotRequired[ProvisioningRef]
    sysprepRef: NotRequired[ProvisioningRef]


class Network(TypedDict):
    type: NetworkType
    name: NotRequired[str]
    id: NotRequired[int]
    virtualMachineMACAddressName: NotRequired[str]
    ipAddressName: NotRequired[str]


class USBDeviceRef(TypedDict):
    name: str


class GPU(TypedDict):
    gpuClassName: str


class VirtualMachineSpec(TypedDict):
    virtualMachineClassName: NotRequired[str]
    runPolicy: RunPolicy
    cpu: CPU
    memory: Memory
    blockDeviceRefs: list[BlockDeviceRef]
    disruptions: Disruptions
    terminationGracePeriodSeconds: int
    osType: OsType
    bootloader: Bootloader
    enableParavirtualization: bool
    provisioning: NotRequired[Provisioning]
    liveMigrationPolicy: LiveMigrationPolicy
    virtualMachineIPAddressName: NotRequired[str]
    networks: NotRequired[list[Network]]
    nodeSelector: NotRequired[dict[str, str]]
    tolerations: NotRequired[list[Toleration]]
    affinity: NotRequired[Affinity]
    topologySpreadConstraints: NotRequired[list[TopologySpreadConstraint]]
    priorityClassName: NotRequired[str]
    usbDevices: NotRequired[list[USBDeviceRef]]
    gpus: NotRequired[list[GPU]]


class VirtualMachine(Resource):
    spec: VirtualMachineSpec
    status: NotRequired[VirtualMachineStatus]
