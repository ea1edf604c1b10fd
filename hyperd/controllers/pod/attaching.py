"""Pods by which claims come to a guest that runs: its own Pod has what it began with, and takes no more.

There is one for each such claim, on the guest's node, whose name follows from the machine and the claim. It stays
until the guest does not have the disk any more, or the machine's own Pod has the claim. What is in the claim is
made by it as well, where nobody had the disk before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hyperd.controllers import usage
from hyperd.controllers.attachment.attachments import Attachments
from hyperd.controllers.context import Context
from hyperd.controllers.ownership import bind_disk, disk_node, machine_node
from hyperd.controllers.pod import claims, filling, manifest, reading
from hyperd.controllers.pod.claims import Claims, Mount
from hyperd.controllers.pod.second import PASSING
from hyperd.errors import AlreadyExists, HyperdError
from hyperd.resources.all import POD, VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values import meta, names
from hyperd.runtime.informer import Informer
from hyperd.runtime.status import delete_this
from hyperd.settings import KubernetesSettings

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine

_INDEX: Final = "attached-to"
_GRACE_SECONDS: Final = 30


def pod_name(machine: AnyObject, claim: str) -> str:
    """Of the Pod by which the claim comes to the machine's guest."""
    digest = hashlib.sha256(f"{machine['metadata']['uid']}/{claim}".encode()).hexdigest()
    return f"virt-attacher-{digest[:16]}"


def is_of(pod: AnyObject, machine: AnyObject) -> bool:
    """Whether it is the machine's, and not one that somebody else gave its name."""
    labels, uid = meta.labels(pod), machine["metadata"]["uid"]
    return (
        names.VM_UID_LABEL in labels and labels.get(names.VM_ATTACHED_LABEL) == uid and meta.is_owned_by(pod, uid)
    )


def find(pods: Informer[Object], machine: AnyObject, claim: str) -> Object | None:
    """The Pod, as far as it is seen."""
    found = pods.get(machine["metadata"]["namespace"], pod_name(machine, claim))
    mine = found is not None and is_of(found, machine) and claim in reading.claims_of(found)
    return found if mine else None


def may_have(machine: VirtualMachine, disk: VirtualDisk) -> bool:
    """Whether the machine's guest has the disk, or may be getting it, which only its node can give it."""
    if usage.mounts(machine, VIRTUAL_DISK, disk["metadata"]["name"]):
        return True
    return not usage.is_off(machine) and machine_node(machine) == disk_node(disk)


def make_manifest(machine: AnyObject, mount: Mount, conf: KubernetesSettings, node: str) -> Object:
    """The Pod, for that node, whatever keeps others off it: a pure function.

    By the label of machines' Pods, which hyperd alone gives, it is of none.
    """
    here = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    required = {"nodeSelectorTerms": [{"matchFields": here}]}
    priority = machine["spec"].get("priorityClassName") or ""
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            "namespace": machine["metadata"]["namespace"],
            "name": pod_name(machine, mount.claim),
            "labels": {
                names.VM_UID_LABEL: "",
                names.VD_UID_LABEL: mount.uid,
                names.VM_ATTACHED_LABEL: machine["metadata"]["uid"],
            },
            "annotations": {names.POD_PINNED_ANNOTATION: node},
            "ownerReferences": [meta.owner_reference(machine)],
        },
        "spec": {
            **manifest.restricted(_GRACE_SECONDS),
            "containers": [{**manifest.launcher(conf, [mount]), "resources": filling.RESOURCES}],
            "volumes": manifest.volumes([mount]),
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}},
            "tolerations": [{"operator": "Exists"}],
            # Nothing that could not take the guest's own place takes this.
            **({"priorityClassName": priority} if priority else {}),
        },
    }


class AttachingPods:
    """Of all machines; the leader's. ``held`` says why disks cannot be on a node now; empty where they can."""

    def __init__(
        self,
        context: Context,
        known: Claims,
        held: Callable[[VirtualMachine, Sequence[VirtualDisk], str], str],
    ) -> None:
        self._context = context
        self._claims = known
        self._held = held
        self._attachments = Attachments(context)
        self._disks = context.informer(VIRTUAL_DISK)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._pods: Informer[Object] = context.informer(POD)
        self._pods.add_index(_INDEX, lambda pod: [meta.labels(pod).get(names.VM_ATTACHED_LABEL, "")])

    def carried(self, machine: VirtualMachine) -> list[VirtualDisk]:
        """The disks that the guest has of attachments, and takes along."""
        has = self._attached(machine)
        return [disk for disk in self._brought(machine) if disk["metadata"]["uid"] in has]

    def _brought(self, machine: VirtualMachine) -> list[VirtualDisk]:
        """The disks that attachments bring, or that are to be let go with them."""
        found = [one for one, refused in self._attachments.judged(machine) if refused is None]
        return self._named(machine, [one["spec"]["blockDeviceRef"] for one in found])

    async def keep(self, machine: VirtualMachine, pod: Object) -> bool:
        """Have the claims on the guest's node that its Pod ``pod`` lacks; whether that was tried in vain."""
        node, had, refused = machine_node(machine), set(reading.claims_of(pod)), ""
        spec = self._named(machine, machine["spec"].get("blockDeviceRefs") or ())
        wanted: dict[str, tuple[VirtualDisk, Mount]] = {}
        for disk in (*spec, *self._brought(machine)):
            claim = None if meta.is_deleting(disk) else self._claims.of(disk)
            if claim is not None and claim["metadata"]["name"] not in had and not self._is_others(machine, disk):
                mount = Mount(disk["metadata"]["uid"], claim["metadata"]["name"], claims.is_block(claim))
                wanted[pod_name(machine, mount.claim)] = disk, mount
        await self.tidy(machine, pod, node)
        has, there = self._attached(machine), {one["metadata"]["name"]: one for one in self._of(machine)}
        for name, one in there.items():
            if name not in wanted and meta.labels(one).get(names.VD_UID_LABEL) not in has:
                await self._delete(one)
        for name, (disk, mount) in wanted.items():
            if name not in there:
                refused = await self._make(machine, mount, node) or refused
                continue
            comes = reading.node_of(there[name]) == node and disk_node(disk) != node
            if comes and not self._held(machine, [disk], node):
                await bind_disk(self._context.store, disk, node)
        if refused:
            self._context.events.event(machine, "Warning", "BlockDeviceHotPlugFailed", refused)
        return bool(refused)

    async def tidy(self, machine: VirtualMachine, pod: Object, node: str) -> None:
        """Let go of what the machine's Pod has itself, and of what is not on its ``node``, or has ended."""
        had = set(reading.claims_of(pod))
        for one in self._of(machine):
            elsewhere = bool(node) and reading.pinned_to(one) != node
            if elsewhere or reading.is_finished(one) or had.intersection(reading.claims_of(one)):
                await self._delete(one)

    async def end(self, machine: VirtualMachine) -> None:
        """There is no guest, and none is to be."""
        for one in self._of(machine):
            await self._delete(one)

    async def _make(self, machine: VirtualMachine, mount: Mount, node: str) -> str:
        body = make_manifest(machine, mount, self._context.settings.kubernetes, node)
        name, namespace = body["metadata"]["name"], machine["metadata"]["namespace"]
        try:
            await self._context.store.create(POD, namespace, body)
        except AlreadyExists:
            found = await self._context.store.find(POD, namespace, name)
            if found is None or is_of(found, machine):
                return ""  # its event comes here
            return f"Pod {name} is not the virtual machine's, but has the name of its Pod: delete it."
        except PASSING:
            raise
        except HyperdError as error:
            return f"The Pod that brings the claim {mount.claim} cannot be made: {error.message}"
        return ""

    async def _delete(self, pod: Object) -> None:
        if not reading.is_ending(pod):
            await delete_this(self._context.store, POD, pod)

    def _of(self, machine: VirtualMachine) -> list[Object]:
        found = [item.object() for item in self._pods.by_index(_INDEX, machine["metadata"]["uid"])]
        return [pod for pod in found if is_of(pod, machine)]

    def _named(self, machine: VirtualMachine, refs: Sequence[Mapping[str, object]]) -> list[VirtualDisk]:
        """The VirtualDisks among these references, as far as they are seen."""
        wanted = [str(ref.get("name")) for ref in refs if ref.get("kind") == VIRTUAL_DISK.kind]
        found = (self._disks.get(machine["metadata"]["namespace"], name) for name in wanted)
        return [disk for disk in found if disk is not None]

    def _attached(self, machine: VirtualMachine) -> set[str]:
        """uids of the disks that the guest has, as its node says."""
        refs = [one for one in machine["status"].get("blockDeviceRefs") or () if one.get("attached")]
        return {disk["metadata"]["uid"] for disk in self._named(machine, refs)}

    def _is_others(self, machine: VirtualMachine, disk: VirtualDisk) -> bool:
        """Whether another machine's guest has the disk."""
        where = disk["metadata"]
        users = usage.machines_using(self._machines, VIRTUAL_DISK, where["namespace"], where["name"])
        others = (item.object() for item in users if item.uid != machine["metadata"]["uid"])
        return any(usage.mounts(other, VIRTUAL_DISK, where["name"]) for other in others)
