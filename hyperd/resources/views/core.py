"""Views of what ``hyperd.resources.core.schemas`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.views.base import Resource


class NamespaceSpec(TypedDict):
    finalizers: NotRequired[list[str]]


class NamespaceStatusConditionsItem(TypedDict):
    type: NotRequired[str]
    status: NotRequired[str]
    reason: NotRequired[str]
    message: NotRequired[str]
    lastTransitionTime: NotRequired[str]
    lastHeartbeatTime: NotRequired[str]
    observedGeneration: NotRequired[int]


class NamespaceStatus(TypedDict):
    phase: NotRequired[str]
    conditions: NotRequired[list[NamespaceStatusConditionsItem]]


class Namespace(Resource):
    spec: NotRequired[NamespaceSpec]
    status: NotRequired[NamespaceStatus]


class Secret(Resource):
    type: NotRequired[str]
    data: NotRequired[dict[str, str]]
    stringData: NotRequired[dict[str, str]]
    immutable: NotRequired[bool]


class ConfigMap(Resource):
    data: NotRequired[dict[str, str]]
    binaryData: NotRequired[dict[str, str]]
    immutable: NotRequired[bool]


class EventInvolvedObject(TypedDict):
    apiVersion: NotRequired[str]
    kind: NotRequired[str]
    namespace: NotRequired[str]
    name: NotRequired[str]
    uid: NotRequired[str]
    resourceVersion: NotRequired[str]
    fieldPath: NotRequired[str]


class EventRelated(TypedDict):
    apiVersion: NotRequired[str]
    kind: NotRequired[str]
    namespace: NotRequired[str]
    name: NotRequired[str]
    uid: NotRequired[str]
    resourceVersion: NotRequired[str]
    fieldPath: NotRequired[str]


class EventSource(TypedDict):
    component: NotRequired[str]
    host: NotRequired[str]


class EventSeries(TypedDict):
    count: NotRequired[int]
    lastObservedTime: NotRequired[str]


class Event(Resource):
    involvedObject: NotRequired[EventInvolvedObject]
    related: NotRequired[EventRelated]
    reason: NotRequired[str]
    message: NotRequired[str]
    type: NotRequired[str]
    count: NotRequired[int]
    firstTimestamp: NotRequired[str]
    lastTimestamp: NotRequired[str]
    eventTime: NotRequired[str]
    action: NotRequired[str]
    reportingComponent: NotRequired[str]
    reportingInstance: NotRequired[str]
    source: NotRequired[EventSource]
    series: NotRequired[EventSeries]


class NodeSpecTaintsItem(TypedDict):
    key: NotRequired[str]
    value: NotRequired[str]
    effect: NotRequired[str]
    timeAdded: NotRequired[str]


class NodeSpec(TypedDict):
    unschedulable: NotRequired[bool]
    podCIDR: NotRequired[str]
    podCIDRs: NotRequired[list[str]]
    providerID: NotRequired[str]
    taints: NotRequired[list[NodeSpecTaintsItem]]


class NodeStatusConditionsItem(TypedDict):
    type: NotRequired[str]
    status: NotRequired[str]
    reason: NotRequired[str]
    message: NotRequired[str]
    lastTransitionTime: NotRequired[str]
    lastHeartbeatTime: NotRequired[str]
    observedGeneration: NotRequired[int]


class NodeStatusAddressesItem(TypedDict):
    type: NotRequired[str]
    address: NotRequired[str]


class NodeStatusNodeInfo(TypedDict):
    machineID: NotRequired[str]
    systemUUID: NotRequired[str]
    bootID: NotRequired[str]
    kernelVersion: NotRequired[str]
    osImage: NotRequired[str]
    containerRuntimeVersion: NotRequired[str]
    kubeletVersion: NotRequired[str]
    kubeProxyVersion: NotRequired[str]
    operatingSystem: NotRequired[str]
    architecture: NotRequired[str]


class NodeStatus(TypedDict):
    capacity: NotRequired[dict[str, str | int]]
    allocatable: NotRequired[dict[str, str | int]]
    conditions: NotRequired[list[NodeStatusConditionsItem]]
    addresses: NotRequired[list[NodeStatusAddressesItem]]
    nodeInfo: NotRequired[NodeStatusNodeInfo]


class Node(Resource):
    spec: NotRequired[NodeSpec]
    status: NotRequired[NodeStatus]


class LeaseSpec(TypedDict):
    holderIdentity: NotRequired[str]
    leaseDurationSeconds: NotRequired[int]
    acquireTime: NotRequired[str]
    renewTime: NotRequired[str]
    leaseTransitions: NotRequired[int]
    preferredHolder: NotRequired[str]
    strategy: NotRequired[str]


class Lease(Resource):
    spec: NotRequired[LeaseSpec]


class StorageClassAllowedTopologiesItemMatchLabelExpressionsItem(TypedDict):
    key: NotRequired[str]
    values: NotRequired[list[str]]


class StorageClassAllowedTopologiesItem(TypedDict):
    matchLabelExpressions: NotRequired[list[StorageClassAllowedTopologiesItemMatchLabelExpressionsItem]]


class StorageClass(Resource):
    provisioner: NotRequired[str]
    parameters: NotRequired[dict[str, str]]
    reclaimPolicy: NotRequired[str]
    mountOptions: NotRequired[list[str]]
    allowVolumeExpansion: NotRequired[bool]
    volumeBindingMode: NotRequired[str]
    allowedTopologies: NotRequired[list[StorageClassAllowedTopologiesItem]]


class ServiceSpecPortsItem(TypedDict):
    name: NotRequired[str]
    port: NotRequired[int]
    protocol: NotRequired[str]
    targetPort: NotRequired[str | int]
    nodePort: NotRequired[int]
    appProtocol: NotRequired[str]


class ServiceSpecSessionAffinityConfigClientIP(TypedDict):
    timeoutSeconds: NotRequired[int]


class ServiceSpecSessionAffinityConfig(TypedDict):
    clientIP: NotRequired[ServiceSpecSessionAffinityConfigClientIP]


class ServiceSpec(TypedDict):
    type: NotRequired[str]
    clusterIP: NotRequired[str]
    clusterIPs: NotRequired[list[str]]
    ipFamilies: NotRequired[list[str]]
    ipFamilyPolicy: NotRequired[str]
    externalIPs: NotRequired[list[str]]
    externalName: NotRequired[str]
    externalTrafficPolicy: NotRequired[str]
    internalTrafficPolicy: NotRequired[str]
    trafficDistribution: NotRequired[str]
    selector: NotRequired[dict[str, str]]
    ports: NotRequired[list[ServiceSpecPortsItem]]
    publishNotReadyAddresses: NotRequired[bool]
    sessionAffinity: NotRequired[str]
    sessionAffinityConfig: NotRequired[ServiceSpecSessionAffinityConfig]
    allocateLoadBalancerNodePorts: NotRequired[bool]
    healthCheckNodePort: NotRequired[int]
    loadBalancerClass: NotRequired[str]
    loadBalancerIP: NotRequired[str]
    loadBalancerSourceRanges: NotRequired[list[str]]


class ServiceStatusConditionsItem(TypedDict):
    type: NotRequired[str]
    status: NotRequired[str]
    reason: NotRequired[str]
    message: NotRequired[str]
    lastTransitionTime: NotRequired[str]
    lastHeartbeatTime: NotRequired[str]
    observedGeneration: NotRequired[int]


class ServiceStatusLoadBalancer(TypedDict):
    ingress: NotRequired[list[object]]


class ServiceStatus(TypedDict):
    conditions: NotRequired[list[ServiceStatusConditionsItem]]
    loadBalancer: NotRequired[ServiceStatusLoadBalancer]


class Service(Resource):
    spec: NotRequired[ServiceSpec]
    status: NotRequired[ServiceStatus]


class ResourceQuotaSpecScopeSelectorMatchExpressionsItem(TypedDict):
    scopeName: NotRequired[str]
    operator: NotRequired[str]
    values: NotRequired[list[str]]


class ResourceQuotaSpecScopeSelector(TypedDict):
    matchExpressions: NotRequired[list[ResourceQuotaSpecScopeSelectorMatchExpressionsItem]]


class ResourceQuotaSpec(TypedDict):
    hard: NotRequired[dict[str, str | int]]
    scopes: NotRequired[list[str]]
    scopeSelector: NotRequired[ResourceQuotaSpecScopeSelector]


class ResourceQuotaStatus(TypedDict):
    hard: NotRequired[dict[str, str | int]]
    used: NotRequired[dict[str, str | int]]


class ResourceQuota(Resource):
    spec: NotRequired[ResourceQuotaSpec]
    status: NotRequired[ResourceQuotaStatus]


class PodSpec(TypedDict):
    pass


class PodStatus(TypedDict):
    pass


class Pod(Resource):
    spec: NotRequired[PodSpec]
    status: NotRequired[PodStatus]


class PersistentVolumeClaimSpec(TypedDict):
    pass


class PersistentVolumeClaimStatus(TypedDict):
    pass


class PersistentVolumeClaim(Resource):
    spec: NotRequired[PersistentVolumeClaimSpec]
    status: NotRequired[PersistentVolumeClaimStatus]


class PersistentVolumeSpec(TypedDict):
    pass


class PersistentVolumeStatus(TypedDict):
    pass


class PersistentVolume(Resource):
    spec: NotRequired[PersistentVolumeSpec]
    status: NotRequired[PersistentVolumeStatus]


class InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevicesDisksItemDisk(TypedDict):
    bus: NotRequired[str]
    readonly: NotRequired[bool]


class InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevicesDisksItemCdrom(TypedDict):
    bus: NotRequired[str]
    readonly: NotRequired[bool]


class InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevicesDisksItem(TypedDict):
    name: NotRequired[str]
    serial: NotRequired[str]
    bootOrder: NotRequired[int]
    disk: NotRequired[InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevicesDisksItemDisk]
    cdrom: NotRequired[InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevicesDisksItemCdrom]


class InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevicesInterfacesItem(TypedDict):
    name: NotRequired[str]
    macAddress: NotRequired[str]
    model: NotRequired[str]


class InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevices(TypedDict):
    disks: NotRequired[list[InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevicesDisksItem]]
    interfaces: NotRequired[list[InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevicesInterfacesItem]]


class InternalVirtualizationVirtualMachineSpecTemplateSpecDomain(TypedDict):
    devices: NotRequired[InternalVirtualizationVirtualMachineSpecTemplateSpecDomainDevices]


class InternalVirtualizationVirtualMachineSpecTemplateSpecVolumesItem(TypedDict):
    name: NotRequired[str]


class InternalVirtualizationVirtualMachineSpecTemplateSpec(TypedDict):
    nodeSelector: NotRequired[dict[str, str]]
    domain: NotRequired[InternalVirtualizationVirtualMachineSpecTemplateSpecDomain]
    volumes: NotRequired[list[InternalVirtualizationVirtualMachineSpecTemplateSpecVolumesItem]]


class InternalVirtualizationVirtualMachineSpecTemplate(TypedDict):
    spec: NotRequired[InternalVirtualizationVirtualMachineSpecTemplateSpec]


class InternalVirtualizationVirtualMachineSpec(TypedDict):
    template: NotRequired[InternalVirtualizationVirtualMachineSpecTemplate]


class InternalVirtualizationVirtualMachineStatus(TypedDict):
    created: NotRequired[bool]
    ready: NotRequired[bool]
    printableStatus: NotRequired[str]


class InternalVirtualizationVirtualMachine(Resource):
    spec: NotRequired[InternalVirtualizationVirtualMachineSpec]
    status: NotRequired[InternalVirtualizationVirtualMachineStatus]


class InternalVirtualizationVirtualMachineInstanceSpecDomainDevicesDisksItemDisk(TypedDict):
    bus: NotRequired[str]
    readonly: NotRequired[bool]


class InternalVirtualizationVirtualMachineInstanceSpecDomainDevicesDisksItemCdrom(TypedDict):
    bus: NotRequired[str]
    readonly: NotRequired[bool]


class InternalVirtualizationVirtualMachineInstanceSpecDomainDevicesDisksItem(TypedDict):
    name: NotRequired[str]
    serial: NotRequired[str]
    bootOrder: NotRequired[int]
    disk: NotRequired[InternalVirtualizationVirtualMachineInstanceSpecDomainDevicesDisksItemDisk]
    cdrom: NotRequired[InternalVirtualizationVirtualMachineInstanceSpecDomainDevicesDisksItemCdrom]


class InternalVirtualizationVirtualMachineInstanceSpecDomainDevicesInterfacesItem(TypedDict):
    name: NotRequired[str]
    macAddress: NotRequired[str]
    model: NotRequired[str]


class InternalVirtualizationVirtualMachineInstanceSpecDomainDevices(TypedDict):
    disks: NotRequired[list[InternalVirtualizationVirtualMachineInstanceSpecDomainDevicesDisksItem]]
    interfaces: NotRequired[list[InternalVirtualizationVirtualMachineInstanceSpecDomainDevicesInterfacesItem]]


class InternalVirtualizationVirtualMachineInstanceSpecDomain(TypedDict):
    devices: NotRequired[InternalVirtualizationVirtualMachineInstanceSpecDomainDevices]


class InternalVirtualizationVirtualMachineInstanceSpecVolumesItem(TypedDict):
    name: NotRequired[str]


class InternalVirtualizationVirtualMachineInstanceSpec(TypedDict):
    nodeSelector: NotRequired[dict[str, str]]
    domain: NotRequired[InternalVirtualizationVirtualMachineInstanceSpecDomain]
    volumes: NotRequired[list[InternalVirtualizationVirtualMachineInstanceSpecVolumesItem]]


class InternalVirtualizationVirtualMachineInstanceStatusVolumeStatusItem(TypedDict):
    name: NotRequired[str]
    target: NotRequired[str]
    phase: NotRequired[str]


class InternalVirtualizationVirtualMachineInstanceStatus(TypedDict):
    phase: NotRequired[str]
    nodeName: NotRequired[str]
    volumeStatus: NotRequired[list[InternalVirtualizationVirtualMachineInstanceStatusVolumeStatusItem]]


class InternalVirtualizationVirtualMachineInstance(Resource):
    spec: NotRequired[InternalVirtualizationVirtualMachineInstanceSpec]
    status: NotRequired[InternalVirtualizationVirtualMachineInstanceStatus]


class VirtualMachineStatsCpu(TypedDict):
    cores: NotRequired[int]
    nanoseconds: NotRequired[int]
    waitNanoseconds: NotRequired[int]


class VirtualMachineStatsMemory(TypedDict):
    bytes: NotRequired[int]
    residentBytes: NotRequired[int]
    usableBytes: NotRequired[int]


class VirtualMachineStatsDisksItem(TypedDict):
    target: NotRequired[str]
    readBytes: NotRequired[int]
    readRequests: NotRequired[int]
    writeBytes: NotRequired[int]
    writeRequests: NotRequired[int]


class VirtualMachineStatsInterfacesItem(TypedDict):
    name: NotRequired[str]
    receivedBytes: NotRequired[int]
    sentBytes: NotRequired[int]


class VirtualMachineStats(Resource):
    node: NotRequired[str]
    timestamp: NotRequired[str]
    uptimeNanoseconds: NotRequired[int]
    cpu: NotRequired[VirtualMachineStatsCpu]
    memory: NotRequired[VirtualMachineStatsMemory]
    disks: NotRequired[list[VirtualMachineStatsDisksItem]]
    interfaces: NotRequired[list[VirtualMachineStatsInterfacesItem]]


class NodeStatsCpu(TypedDict):
    cores: NotRequired[int]
    nanoseconds: NotRequired[int]
    waitNanoseconds: NotRequired[int]


class NodeStatsMemory(TypedDict):
    bytes: NotRequired[int]
    availableBytes: NotRequired[int]


class NodeStatsStorage(TypedDict):
    bytes: NotRequired[int]
    availableBytes: NotRequired[int]


class NodeStats(Resource):
    node: NotRequired[str]
    timestamp: NotRequired[str]
    uptimeNanoseconds: NotRequired[int]
    cpu: NotRequired[NodeStatsCpu]
    memory: NotRequired[NodeStatsMemory]
    storage: NotRequired[NodeStatsStorage]
    machines: NotRequired[int]
