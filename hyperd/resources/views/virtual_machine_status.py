"""Views of what ``hyperd.resources.kinds.virtual_machine_status`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.views.base import Condition, Timer


class Holder(TypedDict):
    epoch: int
    node: str
    to: NotRequired[str]
    operation: NotRequired[str]
    lost: NotRequired[bool]
    fenced: NotRequired[bool]


class GuestOSInfo(TypedDict):
    id: NotRequired[str]
    name: NotRequired[str]
    prettyName: NotRequired[str]
    version: NotRequired[str]
    versionId: NotRequired[str]
    kernelRelease: NotRequired[str]
    kernelVersion: NotRequired[str]
    machine: NotRequired[str]
    variant: NotRequired[str]
    variantId: NotRequired[str]


class BlockDeviceStatus(TypedDict):
    kind: str
    name: str
    size: str
    attached: bool
    hotplugged: NotRequired[bool]
    target: NotRequired[str]
    bootOrder: NotRequired[int]
    virtualMachineBlockDeviceAttachmentName: NotRequired[str]


class MigrationEndpoint(TypedDict):
    node: NotRequired[str]
    pod: NotRequired[str]


class VMMigrationState(TypedDict):
    startTimestamp: NotRequired[str]
    endTimestamp: NotRequired[str]
    source: NotRequired[MigrationEndpoint]
    target: NotRequired[MigrationEndpoint]
    result: NotRequired[str]


class PhaseTransition(TypedDict):
    phase: VirtualMachinePhase
    timestamp: str


class LaunchTimeDuration(TypedDict):
    waitingForDependencies: NotRequired[str]
    virtualMachineStarting: NotRequired[str]
    guestOSAgentStarting: NotRequired[str]


class VirtualMachineStats(TypedDict):
    phasesTransitions: NotRequired[list[PhaseTransition]]
    launchTimeDuration: NotRequired[LaunchTimeDuration]
    lastStartTime: NotRequired[str]
    phaseTimer: NotRequired[Timer]
    startTimer: NotRequired[Timer]


class RestartAwaitingChange(TypedDict):
    operation: str
    path: str
    currentValue: NotRequired[object]
    desiredValue: NotRequired[object]


class RecommendedCPU(TypedDict):
    coreFraction: NotRequired[str]


class RecommendedResources(TypedDict):
    cpu: NotRequired[RecommendedCPU]


class VirtualMachinePod(TypedDict):
    name: str
    active: bool


class Versions(TypedDict):
    qemu: NotRequired[str]
    libvirt: NotRequired[str]


class Topology(TypedDict):
    sockets: int
    coresPerSocket: int


class CPUResources(TypedDict):
    cores: int
    coreFraction: NotRequired[str]
    requestedCores: NotRequired[str | int]
    runtimeOverhead: NotRequired[str | int]
    topology: NotRequired[Topology]


class MemoryResources(TypedDict):
    size: str | int
    runtimeOverhead: NotRequired[str | int]


class Resources(TypedDict):
    cpu: NotRequired[CPUResources]
    memory: NotRequired[MemoryResources]


class USBAddress(TypedDict):
    bus: int
    port: int


class USBDeviceStatus(TypedDict):
    name: str
    attached: bool
    ready: NotRequired[bool]
    address: NotRequired[USBAddress]
    hotplugged: NotRequired[bool]


class NetworkStatus(TypedDict):
    id: NotRequired[int]
    type: str
    name: NotRequired[str]
    macAddress: NotRequired[str]
    virtualMachineMACAddressName: NotRequired[str]
    ipAddress: NotRequired[str]


class VirtualMachineStatus(TypedDict):
    phase: NotRequired[VirtualMachinePhase]
    nodeName: NotRequired[str]
    holder: NotRequired[Holder]
    ipAddress: NotRequired[str]
    virtualMachineIPAddressName: NotRequired[str]
    guestOSInfo: NotRequired[GuestOSInfo]
    blockDeviceRefs: NotRequired[list[BlockDeviceStatus]]
    migrationState: NotRequired[VMMigrationState]
    stats: NotRequired[VirtualMachineStats]
    restartAwaitingChanges: NotRequired[list[RestartAwaitingChange]]
    recommendedResources: NotRequired[RecommendedResources]
    virtualMachinePods: NotRequired[list[VirtualMachinePod]]
    versions: NotRequired[Versions]
    resources: NotRequired[Resources]
    usbDevices: NotRequired[list[USBDeviceStatus]]
    networks: NotRequired[list[NetworkStatus]]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]
