"""Pods by which claims are filled that no machine brings to a node: those of classes that bind at once.

There is one while the disk is made, whose name follows from the disk. It is let go once the disk is there, or a
machine's Pod has the claim. The scheduler chooses its node, and the disk is bound to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.disk.source import Waiting, source_of
from hyperd.controllers.ownership import disk_node
from hyperd.controllers.placement.placing import Nodes
from hyperd.controllers.pod import claims, manifest, reading
from hyperd.controllers.pod.claims import Mount
from hyperd.errors import AlreadyExists, Forbidden, HyperdError, Invalid, NotFound
from hyperd.resources.all import POD
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import DiskReadyReason, VirtualDiskPhase
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values import meta, names
from hyperd.runtime.informer import Informer
from hyperd.runtime.status import delete_this
from hyperd.settings import KubernetesSettings

if TYPE_CHECKING:
    from hyperd.resources.views.core import StorageClass
    from hyperd.resources.views.virtual_disk import VirtualDisk

Problem = tuple[ReadyReason | DiskReadyReason, str]
_NOT_STARTED: Final = ReadyReason.PROVISIONING_NOT_STARTED
_CLAIM_INDEX: Final = "claim"
_GRACE_SECONDS: Final = 30
RESOURCES: Final = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "16Mi"}}
"""The launcher's: hyperd itself does the work, in its own."""


def pod_name(disk: AnyObject) -> str:
    """Of the disk's filling Pod."""
    return f"virt-filler-{disk['metadata']['uid']}"


def is_of(pod: AnyObject, disk: AnyObject) -> bool:
    """Whether it is the disk's, and not one that somebody else gave its name."""
    labels, uid = meta.labels(pod), disk["metadata"]["uid"]
    return names.VM_UID_LABEL in labels and labels.get(names.VD_UID_LABEL) == uid and meta.is_owned_by(pod, uid)


def node_of(pods: Informer[Object], disk: AnyObject) -> str:
    """Where the disk's filling Pod is; empty without one."""
    pod = pods.get(disk["metadata"]["namespace"], pod_name(disk))
    return reading.node_of(pod) if pod is not None and is_of(pod, disk) else ""


def make_manifest(disk: AnyObject, mount: Mount, conf: KubernetesSettings, nodes: Sequence[str]) -> Object:
    """The Pod, for one of the ``nodes``: a pure function.

    By the label of machines' Pods, which hyperd alone gives, it is of none.
    """
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]} for name in nodes]
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            "namespace": disk["metadata"]["namespace"],
            "name": pod_name(disk),
            "labels": {names.VM_UID_LABEL: "", names.VD_UID_LABEL: disk["metadata"]["uid"]},
            "annotations": {names.POD_PINNED_ANNOTATION: ",".join(nodes)},
            "ownerReferences": [meta.owner_reference(disk)],
        },
        "spec": {
            **manifest.restricted(_GRACE_SECONDS),
            "containers": [{**manifest.launcher(conf, [mount]), "resources": RESOURCES}],
            "volumes": manifest.volumes([mount]),
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
            },
        },
    }


class Filling:
    """The leader's part."""

    def __init__(self, context: Context, nodes: Nodes) -> None:
        self._context = context
        self._nodes = nodes
        self._pods: Informer[Object] = context.informer(POD)
        self._pods.add_index(_CLAIM_INDEX, _claims_of)

    async def look(self, disk: VirtualDisk, claim: Object, class_: StorageClass) -> Problem | None:
        """Have a Pod bring the claim to a node if nothing else does, or the problem with that."""
        pod, source = self._pod(disk), source_of(self._context, disk)
        at = "" if pod is None else reading.node_of(pod)
        elsewhere = self._is_with_machine(claim) and not (at and at == disk_node(disk))
        if storage_class.waits_for_consumer(class_) or claims.is_lost(claim) or elsewhere:
            await self.end(disk)
            return None
        if isinstance(source, Waiting):
            return source.ready_reason, source.message
        if (disk.get("status") or {}).get("phase") == VirtualDiskPhase.FAILED:
            await self.end(disk)
            return None
        served, fault = await self._served()
        if pod is None:
            return await self._begin(disk, claim, served) if served else (_NOT_STARTED, fault)
        # One that no node takes may be for nodes that are served no more.
        if reading.is_finished(pod) or (not at and reading.pinned_to(pod) != ",".join(served)):
            await self.end(disk)
        why = reading.why_waiting(pod)[1]
        return (_NOT_STARTED, why) if why else None

    async def _served(self) -> tuple[Sequence[str], str]:
        """The nodes with a hyperd, which is who fills, or why there is none."""
        usable, fault = await self._nodes.usable()
        return sorted(node["metadata"]["name"] for node in usable), fault

    def chosen(self, disk: VirtualDisk, claim: Object) -> str:
        """The node where the disk's Pod is, if the disk is to be bound to that; else empty."""
        pod = self._pod(disk)
        if pod is None or reading.is_ending(pod) or reading.is_finished(pod) or self._is_with_machine(claim):
            return ""
        at = reading.node_of(pod)
        return at if at != disk_node(disk) else ""

    async def end(self, disk: VirtualDisk) -> None:
        """Nothing is to be filled any more."""
        pod = self._pod(disk)
        if pod is not None and not reading.is_ending(pod):
            await delete_this(self._context.store, POD, pod)

    def _pod(self, disk: VirtualDisk) -> Object | None:
        found = self._pods.get(disk["metadata"]["namespace"], pod_name(disk))
        return found if found is not None and is_of(found, disk) else None

    def _is_with_machine(self, claim: Object) -> bool:
        where = claim["metadata"]
        found = self._pods.by_index(_CLAIM_INDEX, f"{where['namespace']}/{where['name']}")
        return any(meta.labels(item.object()).get(names.VM_UID_LABEL) for item in found)

    async def _begin(self, disk: VirtualDisk, claim: Object, nodes: Sequence[str]) -> Problem | None:
        mount = Mount(disk["metadata"]["uid"], claim["metadata"]["name"], claims.is_block(claim))
        body = make_manifest(disk, mount, self._context.settings.kubernetes, nodes)
        try:
            await self._context.store.create(POD, disk["metadata"]["namespace"], body)
        except AlreadyExists:
            found = await self._context.store.find(POD, disk["metadata"]["namespace"], pod_name(disk))
            if found is None or is_of(found, disk):
                return None  # its event comes here
            message = f"Pod {pod_name(disk)} is not the disk's, but has the name of its Pod: delete it."
            return _NOT_STARTED, message
        except (Forbidden, Invalid, NotFound) as error:
            return refused("Pod that fills the claim", error)
        return None


def refused(what: str, error: HyperdError) -> Problem:
    """What the API server does not let be made, as a disk's condition has it."""
    quota = isinstance(error, Forbidden) and error.is_of_quota
    reason = ReadyReason.QUOTA_EXCEEDED if quota else ReadyReason.PROVISIONING_NOT_STARTED
    return reason, f"The {what} cannot be made: {error.message}"


def _claims_of(pod: Object) -> list[str]:
    return [f"{pod['metadata']['namespace']}/{claim}" for claim in reading.claims_of(pod)]
