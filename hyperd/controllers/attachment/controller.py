"""VirtualMachineBlockDeviceAttachment: says what became of it, and stays until its device is out.

The machine's own controller plugs and unplugs, as one hand alone may change a guest's devices; what it has done is
read in the machine's status. So an attachment lasts for as long as it exists, over restarts of its machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.attachment.attachments import Attachments, Refused
from hyperd.controllers.context import Context
from hyperd.controllers.ownership import disk_node, machine_node
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
)
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from hyperd.resources.kinds.virtual_image import ImagePhase
from hyperd.resources.kinds.virtual_machine_block_device_attachment import (
    AttachedReason,
    AttachmentCondition,
    AttachmentDeviceReason,
    AttachmentMachineReason,
    AttachmentPhase,
    AttachmentTerminatingReason,
    CapacityReason,
)
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import AnyObject, Kind
from hyperd.resources.values.conditions import ConditionStatus, remove_condition, set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.status import add_finalizer, remove_finalizer, update_status
from hyperd.store.interface import EventType, Item

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_block_device_attachment import VirtualMachineBlockDeviceAttachment

_LOOK_SECONDS = 2.0
_BUSY_SECONDS = 0.05
_HAVING = (VirtualMachinePhase.RUNNING, VirtualMachinePhase.MIGRATING, VirtualMachinePhase.PAUSE)
_PASSING = (VirtualMachinePhase.STOPPING, VirtualMachinePhase.STOPPED, VirtualMachinePhase.STARTING)
_USABLE = (
    VirtualDiskPhase.READY,
    VirtualDiskPhase.RESIZING,
    VirtualDiskPhase.MIGRATING,
    VirtualDiskPhase.WAIT_FOR_FIRST_CONSUMER,
)


@dataclass(frozen=True)
class Plugs:
    """What the machines' controller tells beside the machines' status."""

    busy: Callable[[VirtualMachine], bool]
    """Whether a step of the machine is being taken, which may know of no deletion yet."""
    holds: Callable[[VirtualMachine, str], bool]
    """Whether the guest has the device of the attachment of that name."""
    trouble: Callable[[str, str], str]
    """By the machine's uid and the attachment's name: what went wrong, or is waited for."""


class AttachmentController(Controller):
    """Judges attachments, and lets those go whose device is out."""

    name = "virtualmachineblockdeviceattachment"
    kind = VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT

    def __init__(self, context: Context, plugs: Plugs) -> None:
        super().__init__()
        self._context = context
        self._plugs = plugs
        self._attachments = Attachments(context)
        self._machines = context.informer(VIRTUAL_MACHINE)
        usage.index_machines(self._machines)
        self._classes = context.informer(STORAGE_CLASS)
        for kind in usage.DEVICE_KINDS.values():
            context.informer(kind)

    def watches(self) -> Mapping[Kind, Mapper]:
        devices = (VIRTUAL_DISK, VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE)
        return {VIRTUAL_MACHINE: self._of_machine, **{kind: self._of_device(kind) for kind in devices}}

    def _of_machine(self, item: Item) -> Iterable[Key]:
        return [_key(one) for one in self._attachments.of_machine(item.namespace, item.name)]

    def _of_device(self, kind: Kind) -> Mapper:
        def keys(item: Item) -> Iterable[Key]:
            value = usage.device_value(kind.kind, item.namespace, item.name)
            return [_key(one) for one in self._attachments.of_device(value)]

        return keys

    def on_own(self, type_: EventType, old: Item | None, new: Item | None) -> None:
        """With the end of one the turn of another may come."""
        super().on_own(type_, old, new)
        if old is not None and new is None:
            for one in self._attachments.beside(old.object()):
                self.enqueue(_key(one))

    async def reconcile(self, key: Key) -> Result | None:
        before = self._attachments.find(*key)
        if before is None:
            return None
        machine = self._machines.get(key.namespace, before["spec"]["virtualMachineName"])
        if not self._context.ownership.operates(machine):
            return None
        if before["metadata"].get("deletionTimestamp"):
            return await self._delete(before, machine)
        before = await add_finalizer(self._context.store, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, before)
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status["observedGeneration"] = before["metadata"]["generation"]
        remove_condition(after, AttachmentCondition.TERMINATING)
        device = self._show_device(after)
        running = self._show_machine(after, machine)
        self._show_attached(after, machine, ready=device and running)
        await update_status(self._context.store, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, before, after)
        return Result(_LOOK_SECONDS) if status["phase"] == AttachmentPhase.IN_PROGRESS else None

    def _show_device(self, attachment: VirtualMachineBlockDeviceAttachment) -> bool:
        problem = self._device_problem(attachment)
        reason = AttachmentDeviceReason.NOT_READY if problem else AttachmentDeviceReason.READY
        condition = AttachmentCondition.BLOCK_DEVICE_READY
        set_condition(attachment, condition, not problem, reason=reason, message=problem)
        return not problem

    def _device_problem(self, attachment: VirtualMachineBlockDeviceAttachment) -> str:
        source = self._source(attachment)
        ref = attachment["spec"]["blockDeviceRef"]
        called = f'{ref.get("kind")} "{ref.get("name")}"'
        if source is None:
            return f"{called} does not exist."
        phase = (source.get("status") or {}).get("phase") or ImagePhase.PENDING
        usable = _USABLE if ref.get("kind") == VIRTUAL_DISK.kind else (ImagePhase.READY,)
        if phase not in usable:
            return f"{called} is {phase}, not Ready."
        holder = self._other_holder(attachment) if ref.get("kind") == VIRTUAL_DISK.kind else ""
        return f'{called} is in use by another VM, "{holder}".' if holder else ""

    def _other_holder(self, attachment: VirtualMachineBlockDeviceAttachment) -> str:
        """Another machine that has the disk: an attachment does not take it away, and waits."""
        name, spec = attachment["spec"]["blockDeviceRef"].get("name") or "", attachment["spec"]
        users = usage.machines_using(self._machines, VIRTUAL_DISK, attachment["metadata"]["namespace"], name)
        for item in users:
            if item.name != spec["virtualMachineName"] and usage.mounts(item.object(), VIRTUAL_DISK, name):
                return item.name
        return ""

    def _source(self, attachment: VirtualMachineBlockDeviceAttachment) -> AnyObject | None:
        ref = attachment["spec"]["blockDeviceRef"]
        kind = usage.DEVICE_KINDS.get(ref.get("kind") or "")
        if kind is None:
            return None
        namespace = attachment["metadata"]["namespace"] if kind.namespaced else ""
        return self._context.informer(kind).get(namespace, ref.get("name") or "")

    def _show_machine(
        self, attachment: VirtualMachineBlockDeviceAttachment, machine: VirtualMachine | None
    ) -> bool:
        name = attachment["spec"]["virtualMachineName"]
        phase = (
            None if machine is None else (machine.get("status") or {}).get("phase") or VirtualMachinePhase.PENDING
        )
        condition = AttachmentCondition.VIRTUAL_MACHINE_READY
        if phase in _HAVING:
            set_condition(attachment, condition, True, reason=AttachmentMachineReason.READY)
            return True
        if phase is None:
            message = f'VirtualMachine "{name}" does not exist.'
        else:
            message = f'VirtualMachine "{name}" is {phase}, not Running.'
        passing = phase in _PASSING
        reason = AttachmentMachineReason.NOT_ATTACHED if passing else AttachmentMachineReason.NOT_READY
        set_condition(attachment, condition, False, reason=reason, message=message)
        return False

    def _show_attached(
        self,
        attachment: VirtualMachineBlockDeviceAttachment,
        machine: VirtualMachine | None,
        *,
        ready: bool,
    ) -> None:
        """Phase and ``Attached``: what the machine's status says counts before what it could say."""
        meta, status = attachment["metadata"], attachment["status"]
        refused = self._refused(attachment, machine)
        self._show_capacity(attachment, machine, refused)
        if machine is not None and _shows_attached(machine, meta["name"]):
            status["phase"] = AttachmentPhase.ATTACHED
            status["virtualMachineName"] = machine["metadata"]["name"]
            _attached(attachment, AttachedReason.ATTACHED)
            return
        status.pop("virtualMachineName", None)
        if refused is not None and refused.conflict:
            status["phase"] = AttachmentPhase.FAILED
            _attached(attachment, AttachedReason.CONFLICT, refused.message)
        elif message := self._unreachable(attachment, machine):
            status["phase"] = AttachmentPhase.FAILED
            _attached(attachment, AttachedReason.NOT_AVAILABLE_ON_NODE, message)
        elif refused is not None or not ready or machine is None:
            status["phase"] = AttachmentPhase.PENDING
            message = "" if refused is None else refused.message
            _attached(attachment, AttachedReason.NOT_ATTACHED, message or _waits_for(attachment))
        else:
            status["phase"] = AttachmentPhase.IN_PROGRESS
            trouble = self._plugs.trouble(machine["metadata"]["uid"], meta["name"])
            _attached(attachment, AttachedReason.REQUEST_SENT, trouble or "The device is being attached.")

    def _refused(
        self, attachment: VirtualMachineBlockDeviceAttachment, machine: VirtualMachine | None
    ) -> Refused | None:
        uid = attachment["metadata"]["uid"]
        judged = () if machine is None else self._attachments.judged(machine)
        return next((refused for one, refused in judged if one["metadata"]["uid"] == uid), None)

    def _show_capacity(
        self,
        attachment: VirtualMachineBlockDeviceAttachment,
        machine: VirtualMachine | None,
        refused: Refused | None,
    ) -> None:
        condition = AttachmentCondition.CAPACITY_AVAILABLE
        if machine is None:
            set_condition(attachment, condition, ConditionStatus.UNKNOWN, reason=CapacityReason.UNKNOWN)
        elif refused is not None and not refused.conflict:
            set_condition(attachment, condition, False, reason=CapacityReason.REACHED, message=refused.message)
        else:
            set_condition(attachment, condition, True, reason=CapacityReason.AVAILABLE)

    def _unreachable(self, attachment: VirtualMachineBlockDeviceAttachment, machine: VirtualMachine | None) -> str:
        """Why the node of the machine cannot reach the disk: it is on another one. A claim comes by a Pod."""
        ref = attachment["spec"]["blockDeviceRef"]
        if machine is None or ref.get("kind") != VIRTUAL_DISK.kind:
            return ""
        disk = self._context.informer(VIRTUAL_DISK).get(attachment["metadata"]["namespace"], ref.get("name") or "")
        if disk is None or self._is_claim(disk):
            return ""
        kept, runs = disk_node(disk), machine_node(machine)
        if not kept or not runs or kept == runs:
            return ""
        return f'VirtualDisk "{ref.get("name")}" is on node {kept}, the virtual machine on node {runs}.'

    def _is_claim(self, disk: VirtualDisk) -> bool:
        """Whether it is one of the cluster's storage."""
        name, volumes = (disk.get("status") or {}).get("storageClassName") or "", self._context.volumes
        class_ = self._classes.get("", name) if volumes.claims else None
        return class_ is not None and storage_class.is_others(class_, volumes.provisioners)

    async def _delete(
        self, before: VirtualMachineBlockDeviceAttachment, machine: VirtualMachine | None
    ) -> Result | None:
        name = before["metadata"]["name"]
        shown = machine is not None and _shows_attached(machine, name)
        if machine is not None and not shown and self._plugs.busy(machine):
            return Result(_BUSY_SECONDS)
        if machine is None or not (shown or self._plugs.holds(machine, name)):
            await remove_finalizer(self._context.store, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, before)
            return None
        after = copy.deepcopy(before)
        after.setdefault("status", {})["phase"] = AttachmentPhase.TERMINATING
        trouble = self._plugs.trouble(machine["metadata"]["uid"], name)
        message = trouble or "The device is being detached."
        reason = AttachmentTerminatingReason.DETACH_PENDING
        set_condition(after, AttachmentCondition.TERMINATING, True, reason=reason, message=message)
        await update_status(self._context.store, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, before, after)
        return Result(_LOOK_SECONDS)


def _shows_attached(machine: VirtualMachine, attachment: str) -> bool:
    """Whether the machine's status says that its guest has the device of the attachment."""
    status = machine.get("status") or {}
    if status.get("phase") in (None, VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED):
        return False
    return any(
        entry.get("virtualMachineBlockDeviceAttachmentName") == attachment and entry.get("attached")
        for entry in status.get("blockDeviceRefs") or ()
    )


def _attached(attachment: VirtualMachineBlockDeviceAttachment, reason: AttachedReason, message: str = "") -> None:
    condition, is_so = AttachmentCondition.ATTACHED, reason is AttachedReason.ATTACHED
    set_condition(attachment, condition, is_so, reason=reason, message=message)


def _waits_for(attachment: VirtualMachineBlockDeviceAttachment) -> str:
    """The first of the other conditions that does not hold, in its words."""
    types = (AttachmentCondition.BLOCK_DEVICE_READY, AttachmentCondition.VIRTUAL_MACHINE_READY)
    conditions = attachment["status"].get("conditions") or ()
    waiting = [one["message"] for one in conditions if one["type"] in types and one["status"] != "True"]
    return next(iter(waiting), "")


def _key(attachment: VirtualMachineBlockDeviceAttachment) -> Key:
    return Key(attachment["metadata"]["namespace"], attachment["metadata"]["name"])
