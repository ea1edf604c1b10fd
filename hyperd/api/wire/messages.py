"""The core kinds' messages, as field tables.

Kubernetes' own clients send core kinds as protobuf, and ask for their schema by OpenAPI. Both come from this one
table: field names and numbers of the public ``k8s.io/api`` 1.34, which never change once published.

A field is ``name=number[:type]``. Types: ``string`` (the default), ``int``, ``bool``, ``bytes``, a message's
name; ``*T`` repeats, ``%T`` is a map from string. ``?`` after the type marks an optional scalar, whose zero is a
value; any other zero means absent, as in the JSON that Go writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Shape = Literal["one", "list", "map"]


@dataclass(frozen=True)
class Field:
    """One field of a message."""

    name: str
    number: int
    type: str = "string"
    shape: Shape = "one"
    optional: bool = False


@dataclass(frozen=True)
class Message:
    """A message's fields, found by number and by name."""

    name: str
    fields: tuple[Field, ...]

    @cached_property
    def by_number(self) -> Mapping[int, Field]:
        return {field.number: field for field in self.fields}


def _field(text: str) -> Field:
    name, _, rest = text.partition("=")
    number, _, type_ = rest.partition(":")
    optional = type_.endswith("?")
    type_ = type_.removesuffix("?") or "string"
    shape: Shape = "one"
    if type_[0] in "*%":
        shape = "list" if type_[0] == "*" else "map"
        type_ = type_[1:]
    return Field(name, int(number), type_, shape, optional)


_TABLE = """
TypeMeta: apiVersion=1 kind=2
Unknown: typeMeta=1:TypeMeta raw=2:bytes contentEncoding=3 contentType=4
ObjectMeta: name=1 generateName=2 namespace=3 selfLink=4 uid=5 resourceVersion=6 generation=7:int
  creationTimestamp=8:Time deletionTimestamp=9:Time deletionGracePeriodSeconds=10:int? labels=11:%string
  annotations=12:%string ownerReferences=13:*OwnerReference finalizers=14:*string
  managedFields=17:*ManagedFieldsEntry
ListMeta: selfLink=1 resourceVersion=2 continue=3 remainingItemCount=4:int?
OwnerReference: kind=1 name=3 uid=4 apiVersion=5 controller=6:bool? blockOwnerDeletion=7:bool?
ManagedFieldsEntry: manager=1 operation=2 apiVersion=3 time=4:Time fieldsType=6 fieldsV1=7:FieldsV1 subresource=8
DeleteOptions: gracePeriodSeconds=1:int? preconditions=2:Preconditions orphanDependents=3:bool? propagationPolicy=4
  dryRun=5:*string ignoreStoreReadErrorWithClusterBreakingPotential=6:bool?
Preconditions: uid=1 resourceVersion=2
Status: metadata=1:ListMeta status=2 message=3 reason=4 details=5:StatusDetails code=6:int
StatusDetails: name=1 group=2 kind=3 causes=4:*StatusCause retryAfterSeconds=5:int uid=6
StatusCause: reason=1 message=2 field=3
Condition: type=1 status=2 observedGeneration=3:int lastTransitionTime=4:Time reason=5 message=6
ObjectReference: kind=1 namespace=2 name=3 uid=4 apiVersion=5 resourceVersion=6 fieldPath=7
Namespace: metadata=1:ObjectMeta spec=2:NamespaceSpec status=3:NamespaceStatus
NamespaceSpec: finalizers=1:*string
NamespaceStatus: phase=1 conditions=2:*NamespaceCondition
NamespaceCondition: type=1 status=2 lastTransitionTime=4:Time reason=5 message=6
Secret: metadata=1:ObjectMeta data=2:%bytes type=3 stringData=4:%string immutable=5:bool?
ConfigMap: metadata=1:ObjectMeta data=2:%string binaryData=3:%bytes immutable=4:bool?
Event: metadata=1:ObjectMeta involvedObject=2:ObjectReference reason=3 message=4 source=5:EventSource
  firstTimestamp=6:Time lastTimestamp=7:Time count=8:int type=9 eventTime=10:MicroTime series=11:EventSeries
  action=12 related=13:ObjectReference reportingComponent=14 reportingInstance=15
EventsEvent: metadata=1:ObjectMeta eventTime=2:MicroTime series=3:EventSeries reportingController=4
  reportingInstance=5 action=6 reason=7 regarding=8:ObjectReference related=9:ObjectReference note=10 type=11
  deprecatedSource=12:EventSource deprecatedFirstTimestamp=13:Time deprecatedLastTimestamp=14:Time
  deprecatedCount=15:int
EventSeries: count=1:int lastObservedTime=2:MicroTime
EventSource: component=1 host=2
Lease: metadata=1:ObjectMeta spec=2:LeaseSpec
LeaseSpec: holderIdentity=1:string? leaseDurationSeconds=2:int? acquireTime=3:MicroTime renewTime=4:MicroTime
  leaseTransitions=5:int? strategy=6 preferredHolder=7
Service: metadata=1:ObjectMeta spec=2:ServiceSpec status=3:ServiceStatus
ServiceSpec: ports=1:*ServicePort selector=2:%string clusterIP=3 type=4 externalIPs=5:*string sessionAffinity=7
  loadBalancerIP=8 loadBalancerSourceRanges=9:*string externalName=10 externalTrafficPolicy=11
  healthCheckNodePort=12:int publishNotReadyAddresses=13:bool sessionAffinityConfig=14:SessionAffinityConfig
  ipFamilyPolicy=17 clusterIPs=18:*string ipFamilies=19:*string allocateLoadBalancerNodePorts=20:bool?
  loadBalancerClass=21 internalTrafficPolicy=22 trafficDistribution=23
ServicePort: name=1 protocol=2 port=3:int targetPort=4:IntOrString nodePort=5:int appProtocol=6
SessionAffinityConfig: clientIP=1:ClientIPConfig
ClientIPConfig: timeoutSeconds=1:int?
ServiceStatus: loadBalancer=1:LoadBalancerStatus conditions=2:*Condition
LoadBalancerStatus: ingress=1:*LoadBalancerIngress
LoadBalancerIngress: ip=1 hostname=2 ipMode=3 ports=4:*PortStatus
PortStatus: port=1:int protocol=2 error=3
Node: metadata=1:ObjectMeta spec=2:NodeSpec status=3:NodeStatus
NodeSpec: podCIDR=1 externalID=2 providerID=3 unschedulable=4:bool taints=5:*Taint podCIDRs=7:*string
Taint: key=1 value=2 effect=3 timeAdded=4:Time
NodeStatus: capacity=1:%Quantity allocatable=2:%Quantity phase=3 conditions=4:*NodeCondition
  addresses=5:*NodeAddress daemonEndpoints=6:NodeDaemonEndpoints nodeInfo=7:NodeSystemInfo
  images=8:*ContainerImage volumesInUse=9:*string
  volumesAttached=10:*AttachedVolume
NodeCondition: type=1 status=2 lastHeartbeatTime=3:Time lastTransitionTime=4:Time reason=5 message=6
NodeAddress: type=1 address=2
NodeDaemonEndpoints: kubeletEndpoint=1:DaemonEndpoint
DaemonEndpoint: Port=1:int
NodeSystemInfo: machineID=1 systemUUID=2 bootID=3 kernelVersion=4 osImage=5 containerRuntimeVersion=6
  kubeletVersion=7 kubeProxyVersion=8 operatingSystem=9 architecture=10
ContainerImage: names=1:*string sizeBytes=2:int
AttachedVolume: name=1 devicePath=2
ResourceQuota: metadata=1:ObjectMeta spec=2:ResourceQuotaSpec status=3:ResourceQuotaStatus
ResourceQuotaSpec: hard=1:%Quantity scopes=2:*string scopeSelector=3:ScopeSelector
ResourceQuotaStatus: hard=1:%Quantity used=2:%Quantity
ScopeSelector: matchExpressions=1:*ScopedResourceSelectorRequirement
ScopedResourceSelectorRequirement: scopeName=1 operator=2 values=3:*string
PersistentVolumeClaim: metadata=1:ObjectMeta spec=2:PersistentVolumeClaimSpec status=3:PersistentVolumeClaimStatus
PersistentVolumeClaimSpec: accessModes=1:*string resources=2:VolumeResourceRequirements volumeName=3
  storageClassName=5:string? volumeMode=6:string?
VolumeResourceRequirements: limits=1:%Quantity requests=2:%Quantity
PersistentVolumeClaimStatus: phase=1 accessModes=2:*string capacity=3:%Quantity
PersistentVolume: metadata=1:ObjectMeta spec=2:PersistentVolumeSpec status=3:PersistentVolumeStatus
PersistentVolumeSpec: capacity=1:%Quantity accessModes=3:*string claimRef=4:ObjectReference
  persistentVolumeReclaimPolicy=5 storageClassName=6 mountOptions=7:*string volumeMode=8:string?
PersistentVolumeStatus: phase=1 message=2 reason=3
StorageClass: metadata=1:ObjectMeta provisioner=2 parameters=3:%string reclaimPolicy=4 mountOptions=5:*string
  allowVolumeExpansion=6:bool? volumeBindingMode=7 allowedTopologies=8:*TopologySelectorTerm
TopologySelectorTerm: matchLabelExpressions=1:*TopologySelectorLabelRequirement
TopologySelectorLabelRequirement: key=1 values=2:*string
SelfSubjectAccessReview: metadata=1:ObjectMeta spec=2:SelfSubjectAccessReviewSpec
  status=3:SubjectAccessReviewStatus
SelfSubjectAccessReviewSpec: resourceAttributes=1:ResourceAttributes nonResourceAttributes=2:NonResourceAttributes
SubjectAccessReview: metadata=1:ObjectMeta spec=2:SubjectAccessReviewSpec status=3:SubjectAccessReviewStatus
LocalSubjectAccessReview: metadata=1:ObjectMeta spec=2:SubjectAccessReviewSpec status=3:SubjectAccessReviewStatus
SubjectAccessReviewSpec: resourceAttributes=1:ResourceAttributes nonResourceAttributes=2:NonResourceAttributes
  user=3 groups=4:*string extra=5:%ExtraValue uid=6
SubjectAccessReviewStatus: allowed=1:bool? reason=2 evaluationError=3 denied=4:bool
ResourceAttributes: namespace=1 verb=2 group=3 version=4 resource=5 subresource=6 name=7
  fieldSelector=8:SelectorAttributes labelSelector=9:SelectorAttributes
SelectorAttributes: rawSelector=1 requirements=2:*SelectorRequirement
SelectorRequirement: key=1 operator=2 values=3:*string
NonResourceAttributes: path=1 verb=2
SelfSubjectRulesReview: metadata=1:ObjectMeta spec=2:SelfSubjectRulesReviewSpec status=3:SubjectRulesReviewStatus
SelfSubjectRulesReviewSpec: namespace=1
SubjectRulesReviewStatus: resourceRules=1:*ResourceRule nonResourceRules=2:*NonResourceRule incomplete=3:bool?
  evaluationError=4
ResourceRule: verbs=1:*string apiGroups=2:*string resources=3:*string resourceNames=4:*string
NonResourceRule: verbs=1:*string nonResourceURLs=2:*string
SelfSubjectReview: metadata=1:ObjectMeta status=2:SelfSubjectReviewStatus
SelfSubjectReviewStatus: userInfo=1:UserInfo
UserInfo: username=1 uid=2 groups=3:*string extra=4:%ExtraValue
TokenReview: metadata=1:ObjectMeta spec=2:TokenReviewSpec status=3:TokenReviewStatus
TokenReviewSpec: token=1 audiences=2:*string
TokenReviewStatus: authenticated=1:bool user=2:UserInfo error=3 audiences=4:*string
"""


def _parse(table: str) -> dict[str, Message]:
    joined = table.replace("\n  ", " ")
    messages: dict[str, Message] = {}
    for line in joined.strip().splitlines():
        name, _, fields = line.partition(": ")
        messages[name] = Message(name, tuple(_field(text) for text in fields.split()))
    return messages


MESSAGES: Mapping[str, Message] = _parse(_TABLE)

SPECIAL = frozenset({"Time", "MicroTime", "Quantity", "IntOrString", "FieldsV1", "ExtraValue"})
"""Messages whose JSON is no object; the codec knows them by name."""
