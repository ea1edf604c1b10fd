"""The kinds of Kubernetes itself that clients expect around ours, with kubectl's own columns."""

from __future__ import annotations

from typing import Final

from hyperd.resources.core import cells, schemas
from hyperd.resources.schema.hidden import emptied
from hyperd.resources.schema.kind import KINDS, Column, Kind

_READ_ONLY: Final = ("get", "list", "watch")
_NAMESPACE_VERBS: Final = ("create", "delete", "get", "list", "patch", "update", "watch")
"""Without deletecollection: one request must not take every namespace away."""
_STATUS: Final = frozenset({"status"})
_NAME = Column("Name", ".metadata.name", format="name", description="Name of the object")
_AGE = Column("Age", ".metadata.creationTimestamp", type="date", description="When it was created")

NAMESPACE = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="Namespace",
        plural="namespaces",
        singular="namespace",
        namespaced=False,
        short_names=("ns",),
        columns=(_NAME, Column("Status", ".status.phase", description="Active or Terminating"), _AGE),
        subresources=_STATUS,
        verbs=_NAMESPACE_VERBS,
        selectable_fields=("status.phase",),
        openapi=schemas.NAMESPACE,
    )
)
SECRET = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="Secret",
        plural="secrets",
        singular="secret",
        namespaced=True,
        columns=(
            _NAME,
            Column("Type", ".type", description="What the data is for"),
            Column("Data", ".data", type="integer", description="Number of keys", cell=cells.data_count),
            _AGE,
        ),
        selectable_fields=("type",),
        hidden={"data": emptied, "stringData": emptied},
        openapi=schemas.SECRET,
    )
)
CONFIG_MAP = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="ConfigMap",
        plural="configmaps",
        singular="configmap",
        namespaced=True,
        short_names=("cm",),
        columns=(
            _NAME,
            Column("Data", ".data", type="integer", description="Number of keys", cell=cells.data_count),
            _AGE,
        ),
        openapi=schemas.CONFIG_MAP,
    )
)
EVENT = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="Event",
        plural="events",
        singular="event",
        namespaced=True,
        short_names=("ev",),
        columns=(
            Column("Last Seen", ".lastTimestamp", type="date", description="When", cell=cells.event_last_seen),
            Column("Type", ".type", description="Normal or Warning"),
            Column("Reason", ".reason", description="What happened, in one word"),
            Column("Object", ".involvedObject.name", description="To which object", cell=cells.event_object),
            Column("Subobject", ".involvedObject.fieldPath", priority=1, description="To which part of it"),
            Column("Source", ".source", priority=1, description="Who reports it", cell=cells.event_source),
            Column("Message", ".message", description="What happened", cell=cells.event_message),
            Column(
                "First Seen",
                ".firstTimestamp",
                type="date",
                priority=1,
                description="When it first happened",
                cell=cells.event_first_seen,
            ),
            Column("Count", ".count", type="integer", priority=1, description="How often", cell=cells.event_count),
            Column("Name", ".metadata.name", priority=1, format="name", description="Name of the event"),
        ),
        selectable_fields=(
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
        selected={"source": cells.event_reporter},
        openapi=schemas.EVENT,
    )
)
NODE = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="Node",
        plural="nodes",
        singular="node",
        namespaced=False,
        short_names=("no",),
        columns=(
            _NAME,
            Column("Status", ".status.conditions", description="Whether it is ready", cell=cells.node_status),
            Column("Roles", ".metadata.labels", description="What it is for", cell=cells.node_roles),
            _AGE,
            Column("Version", ".status.nodeInfo.kubeletVersion", description="Version of hyperd"),
            Column("Internal-IP", ".status.addresses", priority=1, cell=cells.node_internal_ip),
            Column("External-IP", ".status.addresses", priority=1, cell=cells.node_external_ip),
            Column("OS-Image", ".status.nodeInfo.osImage", priority=1),
            Column("Kernel-Version", ".status.nodeInfo.kernelVersion", priority=1),
            Column("Container-Runtime", ".status.nodeInfo.containerRuntimeVersion", priority=1),
        ),
        subresources=_STATUS,
        selectable_fields=("spec.unschedulable",),
        selected={"spec.unschedulable": cells.node_unschedulable},
        openapi=schemas.NODE,
    )
)
LEASE = KINDS.add(
    Kind(
        group="coordination.k8s.io",
        version="v1",
        kind="Lease",
        plural="leases",
        singular="lease",
        namespaced=True,
        columns=(_NAME, Column("Holder", ".spec.holderIdentity", description="Who holds it"), _AGE),
        openapi=schemas.LEASE,
    )
)
STORAGE_CLASS = KINDS.add(
    Kind(
        group="storage.k8s.io",
        version="v1",
        kind="StorageClass",
        plural="storageclasses",
        singular="storageclass",
        namespaced=False,
        short_names=("sc",),
        columns=(
            Column("Name", ".metadata.name", format="name", cell=cells.storage_class_name),
            Column("Provisioner", ".provisioner", description="Who makes the volumes"),
            Column("ReclaimPolicy", ".reclaimPolicy", description="What becomes of a released volume"),
            Column("VolumeBindingMode", ".volumeBindingMode", description="When a volume is made"),
            Column(
                "AllowVolumeExpansion",
                ".allowVolumeExpansion",
                description="Whether volumes can grow",
                cell=cells.allows_expansion,
            ),
            _AGE,
        ),
        openapi=schemas.STORAGE_CLASS,
    )
)
SERVICE = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="Service",
        plural="services",
        singular="service",
        namespaced=True,
        short_names=("svc",),
        categories=("all",),
        columns=(
            _NAME,
            Column("Type", ".spec.type"),
            Column("Cluster-IP", ".spec.clusterIP"),
            Column("External-IP", ".spec.externalIPs", cell=cells.service_external_ip),
            Column("Port(s)", ".spec.ports", cell=cells.service_ports),
            _AGE,
            Column("Selector", ".spec.selector", priority=1, cell=cells.service_selector),
        ),
        subresources=_STATUS,
        selectable_fields=("spec.clusterIP", "spec.type"),
        openapi=schemas.SERVICE,
    )
)
RESOURCE_QUOTA = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="ResourceQuota",
        plural="resourcequotas",
        singular="resourcequota",
        namespaced=True,
        short_names=("quota",),
        columns=(
            _NAME,
            Column("Request", ".status.used", description="What is taken of what", cell=cells.quota_requests),
            Column("Limit", ".status.used", description="The same of limits", cell=cells.quota_limits),
            _AGE,
        ),
        subresources=_STATUS,
        openapi=schemas.RESOURCE_QUOTA,
    )
)
POD = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="Pod",
        plural="pods",
        singular="pod",
        namespaced=True,
        short_names=("po",),
        categories=("all",),
        columns=(
            _NAME,
            Column("Ready", ".status.containerStatuses", cell=cells.pod_ready),
            Column("Status", ".status.phase", cell=cells.pod_status),
            Column("Restarts", ".status.containerStatuses", cell=cells.pod_restarts),
            _AGE,
            Column("IP", ".status.podIP", priority=1),
            Column("Node", ".spec.nodeName", priority=1),
        ),
        verbs=_READ_ONLY,
        selectable_fields=(
            "spec.hostNetwork",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.nominatedNodeName",
            "status.phase",
            "status.podIP",
        ),
        openapi=schemas.POD,
    )
)
PERSISTENT_VOLUME_CLAIM = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="PersistentVolumeClaim",
        plural="persistentvolumeclaims",
        singular="persistentvolumeclaim",
        namespaced=True,
        short_names=("pvc",),
        columns=(
            _NAME,
            Column("Status", ".status.phase"),
            Column("Volume", ".spec.volumeName"),
            Column("Capacity", ".status.capacity.storage"),
            Column("Access Modes", ".status.accessModes", cell=cells.access_modes),
            Column("StorageClass", ".spec.storageClassName"),
            _AGE,
            Column("VolumeMode", ".spec.volumeMode", priority=1),
        ),
        verbs=_READ_ONLY,
        openapi=schemas.PERSISTENT_VOLUME_CLAIM,
    )
)
PERSISTENT_VOLUME = KINDS.add(
    Kind(
        group="",
        version="v1",
        kind="PersistentVolume",
        plural="persistentvolumes",
        singular="persistentvolume",
        namespaced=False,
        elsewhere=("spec.claimRef",),
        short_names=("pv",),
        columns=(
            _NAME,
            Column("Capacity", ".spec.capacity.storage"),
            Column("Access Modes", ".spec.accessModes", cell=cells.access_modes),
            Column("Reclaim Policy", ".spec.persistentVolumeReclaimPolicy"),
            Column("Status", ".status.phase"),
            Column("Claim", ".spec.claimRef", cell=cells.volume_claim),
            Column("StorageClass", ".spec.storageClassName"),
            Column("Reason", ".status.reason"),
            _AGE,
            Column("VolumeMode", ".spec.volumeMode", priority=1),
        ),
        verbs=_READ_ONLY,
        openapi=schemas.PERSISTENT_VOLUME,
    )
)
