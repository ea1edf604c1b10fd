"""The objects of a machine made again, of its snapshot: in place of those that there are, or beside them.

What was made carries the operation's uid in an annotation, so that after a crash it is neither made twice nor
taken for what was there before. All is judged before anything is touched.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.ownership import disk_node
from hyperd.controllers.snapshot import saving
from hyperd.controllers.snapshot.rehearsing import REFUSALS, Rehearsing, replaced
from hyperd.controllers.snapshot.renaming import renamed, renamer, too_long
from hyperd.controllers.snapshot.saving import Saved
from hyperd.errors import (
    AlreadyExists,
    HyperdError,
    PermanentError,
    TemporaryError,
)
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_IP_ADDRESS,
)
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.kinds.virtual_machine_operation import OperationMode, ResourceStatus
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.values import meta
from hyperd.resources.values.names import VMOP_RESTORE_ANNOTATION
from hyperd.runtime.status import delete_this

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk_snapshot import VirtualDiskSnapshot
    from hyperd.resources.views.virtual_machine_operation import (
        CloneOptions,
        OperationResource,
        VirtualMachineOperation,
    )
    from hyperd.resources.views.virtual_machine_snapshot import VirtualMachineSnapshot
    from hyperd.resources.views.virtual_machine_snapshot_operation import VirtualMachineSnapshotOperation

_KINDS: Final = {
    kind.kind: kind
    for kind in (
        VIRTUAL_MACHINE_IP_ADDRESS,
        SECRET,
        VIRTUAL_DISK,
        VIRTUAL_MACHINE,
        VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    )
}
"""In the order in which they are made."""
UNFIT: Final = "Fail to validate the resources: check the status."
FAILED: Final = "Fail to process the resources: check the status."
"""Of operations whose objects cannot be made, or could not, in the reference's words."""
_LOOK_SECONDS: Final = 0.2
_IMAGES: Final[dict[str, Kind]] = {kind.kind: kind for kind in (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE)}


@dataclass(frozen=True)
class Wanted:
    """What is to be made of a snapshot."""

    snapshot: VirtualMachineSnapshot
    operation: str
    """uid of the operation."""
    mode: OperationMode
    copy: CloneOptions | None = None
    """How the copy's objects are called; None to put those of the snapshot back."""


class Making:
    """Level-triggered: each call does what can be done now."""

    def __init__(self, context: Context, wanted: Wanted) -> None:
        self._context = context
        self._store = context.store
        self._wanted = wanted
        self._namespace: str = wanted.snapshot["metadata"]["namespace"]

    async def objects(self) -> list[Object]:
        """All that is to be there in the end. Raises PermanentError where the snapshot has lost something."""
        saved = await saving.load(self._context, self._wanted.snapshot, self._wanted.operation)
        if saved is None:
            raise PermanentError(saving.GONE)
        disks = await self._disks()
        saved = copy.deepcopy(saved)
        if self._wanted.copy is not None:
            saved = renamed(saved, self._wanted.copy)
            rename = renamer(self._wanted.copy)
            for disk in disks:
                disk["metadata"].pop("labels", None)
                disk["metadata"]["name"] = rename(disk["kind"], disk["metadata"]["name"])
        elif saved.vmip is not None and not saved.vm["spec"].get("virtualMachineIPAddressName"):
            await self._own(saved.vmip, controller=True)
        if self._wanted.mode != OperationMode.STRICT:
            await self._drop_missing(saved)
        found = [*saved.objects(), *disks]
        for each in found:
            each["metadata"].setdefault("annotations", {})[VMOP_RESTORE_ANNOTATION] = self._wanted.operation
        order = list(_KINDS)
        return sorted(
            (each for each in found if each["kind"] in order), key=lambda each: order.index(each["kind"])
        )

    async def judge(self, objects: list[Object]) -> list[OperationResource]:
        """What would become of each; nothing is touched."""
        verb = "restore" if self._wanted.copy is None else "clone"
        found = []
        restores, goes = self._wanted.copy is None, await self._goes(objects)
        rehearsing = Rehearsing(self._store, self._namespace, self._wanted.operation, restores=restores, goes=goes)
        for each in objects:
            why = await self._fault(each) or await rehearsing.refusal(_KINDS[each["kind"]], each)
            message = why or f"{_words(each)} is valid for {verb}."
            found.append(_resource(each, ResourceStatus.FAILED if why else ResourceStatus.COMPLETED, message))
        return found

    async def make(self, objects: list[Object]) -> list[OperationResource]:
        """One round. What is InProgress waits for the rounds to come."""
        found = []
        if self._wanted.copy is None:
            if await self._goes(objects) and failures(judged := await self.judge(objects)):
                return judged  # What has changed since the first look: the disks of today are still there.
            await self._detach_others(objects)
        for each in objects:
            try:
                waits = await self._put(each)
            except REFUSALS as err:
                found.append(_resource(each, ResourceStatus.FAILED, err.message))
                continue
            except HyperdError as err:
                waits = err.message
            status = ResourceStatus.IN_PROGRESS if waits else ResourceStatus.COMPLETED
            found.append(_resource(each, status, waits or f"{_words(each)} is there."))
            if waits and each["kind"] != VIRTUAL_DISK.kind:
                break
        return found

    async def ready(self, objects: list[Object], *, consumed: bool) -> str:
        """What is waited for once all is made: disks; a sentence, empty if nothing.

        ``consumed``: also those that wait for their first consumer.
        """
        fine = [VirtualDiskPhase.READY, *([] if consumed else [VirtualDiskPhase.WAIT_FOR_FIRST_CONSUMER])]
        for each in objects:
            if each["kind"] == VIRTUAL_DISK.kind:
                disk = await self._store.find(VIRTUAL_DISK, self._namespace, each["metadata"]["name"])
                phase = None if disk is None else (disk.get("status") or {}).get("phase")
                if phase == VirtualDiskPhase.FAILED:
                    raise PermanentError(f"{_words(each)} failed: its conditions say why.")
                if phase not in fine:
                    return f"{_words(each)} is {phase or VirtualDiskPhase.PENDING}, not Ready."
        return ""

    async def _disks(self) -> list[Object]:
        """The disks as they were, to be made of their snapshots."""
        found = []
        for name in self._wanted.snapshot["status"].get("virtualDiskSnapshotNames") or ():
            snapshot = await self._store.find(VIRTUAL_DISK_SNAPSHOT, self._namespace, name)
            status = None if snapshot is None else snapshot.get("status")
            if status is not None and status.get("phase") == SnapshotPhase.IN_PROGRESS:
                # The machine's says Ready first.
                raise TemporaryError(f'VirtualDiskSnapshot "{name}" is not Ready yet.', delay=_LOOK_SECONDS)
            if snapshot is None or status is None or status.get("phase") != SnapshotPhase.READY:
                raise PermanentError(f'VirtualDiskSnapshot "{name}" is lost.')
            await self._require_data(snapshot)
            source = status["source"]
            claim = {"size": source["size"]}
            if class_ := source.get("storageClassName"):
                claim["storageClassName"] = class_
            body: Object = {
                "apiVersion": VIRTUAL_DISK.api_version,
                "kind": VIRTUAL_DISK.kind,
                "metadata": {"namespace": self._namespace, "name": snapshot["spec"]["virtualDiskName"]},
                "spec": {
                    "dataSource": {
                        "type": "ObjectRef",
                        "objectRef": {"kind": VIRTUAL_DISK_SNAPSHOT.kind, "name": name},
                    },
                    "persistentVolumeClaim": claim,
                },
            }
            if found_labels := source.get("labels"):
                body["metadata"]["labels"] = dict(found_labels)
            if notes := source.get("annotations"):
                body["metadata"]["annotations"] = dict(notes)
            if source.get("owned") and self._wanted.copy is None:
                await self._own(body, controller=False)
            found.append(body)
        return found

    async def _require_data(self, snapshot: VirtualDiskSnapshot) -> None:
        """Before the disk of today goes for it: what its status says of the pool is minutes old."""
        if self._wanted.copy is None and disk_node(snapshot) in ("", self._context.node_name):
            found = await self._context.volumes.find_snapshot(snapshot["metadata"]["uid"])
            if found is None or found.pending:
                name = snapshot["metadata"]["name"]
                raise PermanentError(f'What VirtualDiskSnapshot "{name}" held is gone from the node\'s pool.')

    async def _own(self, body: Object, *, controller: bool) -> None:
        """Have it belong to the machine, and go with it."""
        name = self._wanted.snapshot["spec"]["virtualMachineName"]
        machine = await self._store.find(VIRTUAL_MACHINE, self._namespace, name)
        if machine is not None:
            body["metadata"]["ownerReferences"] = [meta.owner_reference(machine, controller=controller)]

    async def _drop_missing(self, saved: Saved) -> None:
        """Images that are gone, and of a copy what only one machine may have."""
        spec = saved.vm["spec"]
        refs = spec.get("blockDeviceRefs") or []
        spec["blockDeviceRefs"] = [ref for ref in refs if await self._is_there(ref)]
        saved.vmbdas[:] = [each for each in saved.vmbdas if await self._is_there(each["spec"]["blockDeviceRef"])]
        if self._wanted.copy is not None and self._wanted.mode == OperationMode.BEST_EFFORT:
            spec.pop("usbDevices", None)

    async def _is_there(self, ref: Object) -> bool:
        kind = _IMAGES.get(ref["kind"])
        namespace = self._namespace if kind is not None and kind.namespaced else ""
        return kind is None or await self._store.find(kind, namespace, ref["name"]) is not None

    async def _fault(self, obj: Object) -> str:
        """Why an object cannot be made; a sentence, empty if it can."""
        kind, name = _KINDS[obj["kind"]], obj["metadata"]["name"]
        if why := too_long(obj["kind"], name):
            return f"{_words(obj)} cannot be made: {why}."
        there = await self._store.find(kind, self._namespace, name)
        if there is None or self._is_mine(there):
            return ""
        if kind is SECRET:
            same = (there.get("data") or {}) == obj.get("data", {})
            lenient = self._wanted.copy is None and self._wanted.mode == OperationMode.BEST_EFFORT
            return "" if same or lenient else f"{_words(obj)} exists with other content."
        if self._wanted.copy is not None:
            return f"{_words(obj)} already exists."
        if kind is VIRTUAL_DISK:
            return self._disk_user(name)
        if kind is VIRTUAL_MACHINE_IP_ADDRESS:
            user = (there.get("status") or {}).get("virtualMachineName")
            mine = self._wanted.snapshot["spec"]["virtualMachineName"]
            return f"{_words(obj)} is already in use by virtual machine {user}." if user and user != mine else ""
        if kind is VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT:
            user = there["spec"]["virtualMachineName"]
            other = user != obj["spec"]["virtualMachineName"]
            return f"{_words(obj)} is already in use by virtual machine {user}." if other else ""
        return ""

    async def _goes(self, objects: list[Object]) -> list[str]:
        """Names of the disks that are there and that others take the place of."""
        found = []
        for each in objects if self._wanted.copy is None else ():
            name = each["metadata"]["name"]
            if each["kind"] == VIRTUAL_DISK.kind:
                there = await self._store.find(VIRTUAL_DISK, self._namespace, name)
                if there is not None and not self._is_mine(there):
                    found.append(name)
        return found

    def _disk_user(self, name: str) -> str:
        """Another machine that has the disk open."""
        mine = self._wanted.snapshot["spec"]["virtualMachineName"]
        machines = self._context.informer(VIRTUAL_MACHINE)
        for item in usage.machines_using(machines, VIRTUAL_DISK, self._namespace, name):
            if item.name != mine and usage.mounts(item.object(), VIRTUAL_DISK, name):
                return f'VirtualDisk "{name}" is already in use by virtual machine {item.name}.'
        return ""

    async def _put(self, obj: Object) -> str:
        """Have the object there; what is waited for, empty once it is."""
        kind, name = _KINDS[obj["kind"]], obj["metadata"]["name"]
        there = await self._store.find(kind, self._namespace, name)
        if there is not None and not meta.is_deleting(there) and self._is_mine(there):
            return ""
        if why := await self._fault(obj):
            raise PermanentError(why)
        if there is None:
            try:
                await self._store.create(kind, self._namespace, copy.deepcopy(obj))
            except AlreadyExists:
                return f"{_words(obj)} is being made."
            return ""
        if meta.is_deleting(there):
            return f"{_words(obj)} is being deleted."
        if kind is VIRTUAL_MACHINE:
            await self._store.update(kind, self._namespace, name, replaced(there, obj))
        elif kind is VIRTUAL_DISK or _attaches_another(there, obj):
            await delete_this(self._store, kind, there)
            return f"{_words(obj)} is being deleted."
        return ""

    async def _detach_others(self, objects: list[Object]) -> None:
        """What was plugged in after the snapshot."""
        kind = VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
        kept = {each["metadata"]["name"] for each in objects if each["kind"] == kind.kind}
        for each in await self._store.find_all(kind, self._namespace):
            mine = each["spec"]["virtualMachineName"] == self._wanted.snapshot["spec"]["virtualMachineName"]
            if mine and each["metadata"]["name"] not in kept and not meta.is_deleting(each):
                await delete_this(self._store, kind, each)

    def _is_mine(self, there: AnyObject) -> bool:
        return meta.annotations(there).get(VMOP_RESTORE_ANNOTATION) == self._wanted.operation


async def unmake(context: Context, operation: VirtualMachineOperation | VirtualMachineSnapshotOperation) -> None:
    """Remove what a copy that failed had made, the machine first."""
    namespace, uid = operation["metadata"]["namespace"], operation["metadata"]["uid"]
    for kind in reversed(_KINDS.values()):
        found: Sequence[AnyObject] = (
            await _secrets(context, operation) if kind is SECRET else await context.store.find_all(kind, namespace)
        )
        for each in found:
            made = meta.annotations(each).get(VMOP_RESTORE_ANNOTATION) == uid
            if made and not meta.is_deleting(each):
                await delete_this(context.store, kind, each)


async def _secrets(
    context: Context, operation: VirtualMachineOperation | VirtualMachineSnapshotOperation
) -> list[AnyObject]:
    """Those that the status names, which may be read by name alone."""
    namespace = operation["metadata"]["namespace"]
    named = [each["name"] for each in operation["status"].get("resources") or () if each["kind"] == SECRET.kind]
    found = [await context.store.find(SECRET, namespace, name) for name in named]
    return [each for each in found if each is not None]


def _attaches_another(there: AnyObject, obj: Object) -> bool:
    """Whether an attachment of that name brings another device: what it brings is fixed."""
    if obj["kind"] != VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT.kind:
        return False
    return bool(there["spec"]["blockDeviceRef"] != obj["spec"]["blockDeviceRef"])


def failures(resources: list[OperationResource]) -> bool:
    """Whether some object cannot be had."""
    return any(each["status"] == ResourceStatus.FAILED for each in resources)


def complete(resources: list[OperationResource], objects: list[Object]) -> bool:
    """Whether all of them are there."""
    return len(resources) == len(objects) and all(each["status"] == ResourceStatus.COMPLETED for each in resources)


def _resource(obj: Object, status: ResourceStatus, message: str) -> OperationResource:
    version = obj["apiVersion"].rpartition("/")[2]
    return {
        "apiVersion": version,
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "status": status,
        "message": message,
    }


def _words(obj: Object) -> str:
    return f'{obj["kind"]} "{obj["metadata"]["name"]}"'
