"""OpenAPI schemas of core kinds: for ``kubectl explain``, for forms, and for who owns which field.

Kubernetes owns these kinds. Nothing is ever pruned from them: what is not listed is kept as it comes. Only
server-side apply refuses a field that a ``block`` does not list; of an ``open_block`` only the usual ones are
listed. List and map types are Kubernetes' own.
"""

from __future__ import annotations

from hyperd.resources.schema.kind import Object

Schema = Object


def text(doc: str) -> Schema:
    return {"type": "string", "description": doc}


def number(doc: str) -> Schema:
    return {"type": "integer", "format": "int32", "description": doc}


def flag(doc: str) -> Schema:
    return {"type": "boolean", "description": doc}


def time(doc: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": doc}


def strings(doc: str) -> Schema:
    return {"type": "object", "additionalProperties": {"type": "string"}, "description": doc}


def number_or_text(doc: str) -> Schema:
    return {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "description": doc,
    }


def quantities(doc: str) -> Schema:
    return {"type": "object", "additionalProperties": number_or_text("A quantity."), "description": doc}


def blobs(doc: str) -> Schema:
    return {
        "type": "object",
        "additionalProperties": {"type": "string", "format": "byte"},
        "description": doc,
    }


def block(doc: str, **properties: Schema) -> Schema:
    """An object with these fields."""
    return {"type": "object", "description": doc, "properties": properties}


def open_block(doc: str, **properties: Schema) -> Schema:
    """An object with these fields, and whatever else comes."""
    return {**block(doc, **properties), "x-kubernetes-preserve-unknown-fields": True}


def whole(schema: Schema) -> Schema:
    """A map that is applied as one field."""
    return {**schema, "x-kubernetes-map-type": "atomic"}


def many(doc: str, item: Schema) -> Schema:
    """A list that is applied as one field."""
    return {"type": "array", "description": doc, "items": item, "x-kubernetes-list-type": "atomic"}


def many_by(keys: tuple[str, ...], doc: str, item: Schema) -> Schema:
    """A list whose items are told apart by ``keys`` and applied one by one."""
    return {**many(doc, item), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [*keys]}


def kind(doc: str, **properties: Schema) -> Schema:
    """A whole object of a core kind."""
    return block(
        doc,
        apiVersion=text("Version of the object's API."),
        kind=text("Kind of the object."),
        metadata={"type": "object", "description": "Standard metadata of an object."},
        **properties,
    )


def words(doc: str) -> Schema:
    return many(doc, {"type": "string"})


_CONDITIONS = many_by(
    ("type",),
    "Aspects of its state.",
    block(
        "One aspect of its state.",
        type=text("What it is about."),
        status=text("True, False or Unknown."),
        reason=text("Why it is so, for programs."),
        message=text("Why it is so, for people."),
        lastTransitionTime=time("When the status last changed."),
        lastHeartbeatTime=time("When it was last looked at."),
        observedGeneration={**number("Which generation of the object it is about."), "format": "int64"},
    ),
)
_REFERENCE = {
    "apiVersion": text("Version of the object's API."),
    "kind": text("Kind of the object."),
    "namespace": text("Namespace of the object."),
    "name": text("Name of the object."),
    "uid": text("UID of the object."),
    "resourceVersion": text("Version of the object."),
    "fieldPath": text("The part of the object that is meant."),
}

NAMESPACE = kind(
    "Namespace provides a scope for names.",
    spec=block("How the namespace behaves.", finalizers=words("What must happen before it is removed.")),
    status=block("State of the namespace.", phase=text("Active or Terminating."), conditions=_CONDITIONS),
)
SECRET = kind(
    "Secret holds secret data of a certain type. Its values are kept as plain base64 in the store.",
    type=text("What the data is for, such as provisioning.virtualization.deckhouse.io/cloud-init."),
    data=blobs("The data, each value in base64."),
    stringData=strings("The data in clear, for writing only; it replaces keys of data."),
    immutable=flag("Whether the data can no longer be changed."),
)
CONFIG_MAP = kind(
    "ConfigMap holds configuration data.",
    data=strings("The data, as UTF-8."),
    binaryData=blobs("The data, each value in base64."),
    immutable=flag("Whether the data can no longer be changed."),
)
EVENT = kind(
    "Event is a report of something that happened to an object; kept for an hour.",
    involvedObject=whole(block("The object that it happened to.", **_REFERENCE)),
    related=whole(block("Another object that has to do with it.", **_REFERENCE)),
    reason=text("What happened, in one word for programs."),
    message=text("What happened, for people."),
    type=text("Normal or Warning."),
    count=number("How often it happened."),
    firstTimestamp=time("When it first happened."),
    lastTimestamp=time("When it last happened."),
    eventTime=time("When it happened."),
    action=text("What was done."),
    reportingComponent=text("Who reports it."),
    reportingInstance=text("Which instance reports it."),
    source=block("Who reports it.", component=text("The program."), host=text("The node.")),
    series=block("How it repeats.", count=number("How often."), lastObservedTime=time("When it was last seen.")),
)
NODE = kind(
    "Node is a machine that virtual machines run on.",
    spec=open_block(
        "How the node behaves.",
        unschedulable=flag("Whether it takes no new virtual machines."),
        podCIDR=text("Addresses of its Pods."),
        podCIDRs={**words("Addresses of its Pods, of each family."), "x-kubernetes-list-type": "set"},
        providerID=text("Identity of the machine at its provider."),
        taints=many(
            "What keeps work away.",
            block(
                "A taint.",
                key=text("Key."),
                value=text("Value."),
                effect=text("Effect."),
                timeAdded=time("When it was added."),
            ),
        ),
    ),
    status=open_block(
        "State of the node.",
        capacity=quantities("What the machine has."),
        allocatable=quantities("What virtual machines may have."),
        conditions=_CONDITIONS,
        addresses=many_by(
            ("type",),
            "Its addresses.",
            block("An address.", type=text("Kind of address."), address=text("The address.")),
        ),
        nodeInfo=open_block(
            "What the machine is.",
            machineID=text("Identity of the installation."),
            systemUUID=text("Identity of the hardware."),
            bootID=text("Identity of the boot."),
            kernelVersion=text("Version of the kernel."),
            osImage=text("Operating system."),
            containerRuntimeVersion=text("What runs its work."),
            kubeletVersion=text("Version of the agent: hyperd's."),
            kubeProxyVersion=text("Always empty: there is no kube-proxy."),
            operatingSystem=text("Family of the operating system."),
            architecture=text("Architecture of the processor."),
        ),
    ),
)
LEASE = kind(
    "Lease says who leads.",
    spec=block(
        "The lease.",
        holderIdentity=text("Who holds it."),
        leaseDurationSeconds=number("How long it holds without renewal."),
        acquireTime=time("Since when it is held."),
        renewTime=time("When it was last renewed."),
        leaseTransitions=number("How often the holder changed."),
        preferredHolder=text("Who should hold it."),
        strategy=text("How the holder is chosen."),
    ),
)
STORAGE_CLASS = kind(
    "StorageClass is a kind of storage that disks can be made on.",
    provisioner=text("Who makes the volumes."),
    parameters=strings("What the provisioner is told."),
    reclaimPolicy=text("What becomes of a volume that is released: Delete or Retain."),
    mountOptions=words("Options of the mount."),
    allowVolumeExpansion=flag("Whether volumes can grow."),
    volumeBindingMode=text("When a volume is made: Immediate or WaitForFirstConsumer."),
    allowedTopologies=many(
        "Where volumes may be.",
        whole(
            block(
                "A choice of nodes.",
                matchLabelExpressions=many(
                    "Labels of the nodes.",
                    block("Values of a label.", key=text("Key of the label."), values=words("Its values.")),
                ),
            )
        ),
    ),
)
SERVICE = kind(
    "Service is a name for a set of addresses.",
    spec=block(
        "What the service shall be.",
        type=text("ClusterIP, NodePort, LoadBalancer or ExternalName."),
        clusterIP=text("Its address."),
        clusterIPs=words("Its addresses, of each family."),
        ipFamilies=words("IPv4, IPv6 or both."),
        ipFamilyPolicy=text("Whether it has addresses of both families."),
        externalIPs=words("Further addresses."),
        externalName=text("The name that it stands for."),
        externalTrafficPolicy=text("Cluster or Local."),
        internalTrafficPolicy=text("Cluster or Local."),
        trafficDistribution=text("Which of its endpoints are preferred."),
        selector=whole(strings("Labels of what is behind it.")),
        ports=many_by(
            ("port", "protocol"),
            "Its ports.",
            block(
                "A port.",
                name=text("Name of the port."),
                port=number("Number of the port."),
                protocol={**text("TCP, UDP or SCTP."), "default": "TCP"},
                targetPort=number_or_text("Port of what is behind it."),
                nodePort=number("Port of every node."),
                appProtocol=text("What is spoken on it."),
            ),
        ),
        publishNotReadyAddresses=flag("Whether addresses count that are not ready."),
        sessionAffinity=text("None or ClientIP."),
        sessionAffinityConfig=block(
            "How clients are kept.",
            clientIP=block("By their address.", timeoutSeconds=number("For how long.")),
        ),
        allocateLoadBalancerNodePorts=flag("Whether a load balancer needs ports of the nodes."),
        healthCheckNodePort=number("Port of every node that tells whether it has endpoints."),
        loadBalancerClass=text("Which load balancer."),
        loadBalancerIP=text("Address that the load balancer should have."),
        loadBalancerSourceRanges=words("Whom the load balancer lets in."),
    ),
    status=block(
        "State of the service.",
        conditions=_CONDITIONS,
        loadBalancer=block(
            "Its load balancer.",
            ingress=many("Where it is reached.", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        ),
    ),
)
RESOURCE_QUOTA = kind(
    "ResourceQuota limits what the objects of a namespace may take together.",
    spec=block(
        "The limits.",
        hard=quantities("How much of each resource there may be."),
        scopes=words("Which Pods are counted; not built yet."),
        scopeSelector=whole(
            block(
                "Which Pods are counted; not built yet.",
                matchExpressions=many(
                    "What they must be.",
                    block(
                        "A requirement.",
                        scopeName=text("What is compared."),
                        operator=text("In, NotIn, Exists or DoesNotExist."),
                        values=words("The values."),
                    ),
                ),
            )
        ),
    ),
    status=block(
        "What is taken.",
        hard=quantities("The limits that are kept to."),
        used=quantities("How much is taken."),
    ),
)
POD = kind(
    "Pod is a group of containers; only the cluster home has any.",
    spec=open_block("The Pod."),
    status=open_block("State of the Pod."),
)
PERSISTENT_VOLUME_CLAIM = kind(
    "PersistentVolumeClaim asks for a volume; on one machine each stands for the volume of a VirtualDisk.",
    spec=open_block("What is asked for."),
    status=open_block("What was given."),
)
PERSISTENT_VOLUME = kind(
    "PersistentVolume is a volume; on one machine each is the volume of a VirtualDisk.",
    spec=open_block("The volume."),
    status=open_block("State of the volume."),
)
