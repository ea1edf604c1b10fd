"""Which VirtualMachineBlockDeviceAttachments bring their device, and why the others do not.

The older of two comes first: what a younger one does never takes a device away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
from hyperd.resources.values.names import MAX_BLOCK_DEVICES

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_block_device_attachment import VirtualMachineBlockDeviceAttachment

MACHINE_INDEX = "machine"


@dataclass(frozen=True)
class Refused:
    """An attachment that brings nothing."""

    message: str
    conflict: bool = False
    """The device is another's to bring; else there is no room for it."""


class Attachments:
    """Those that an informer shows."""

    def __init__(self, context: Context) -> None:
        self._attachments = context.informer(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT)
        self._attachments.add_index(MACHINE_INDEX, _machine_values)
        self._attachments.add_index(usage.DEVICE_INDEX, _device_values)

    def find(self, namespace: str, name: str) -> VirtualMachineBlockDeviceAttachment | None:
        return self._attachments.get(namespace, name)

    def of_machine(self, namespace: str, name: str) -> list[VirtualMachineBlockDeviceAttachment]:
        """All that name the machine, the oldest first."""
        found = self._attachments.by_index(MACHINE_INDEX, f"{namespace}/{name}")
        return sorted((item.object() for item in found), key=_age)

    def beside(self, attachment: VirtualMachineBlockDeviceAttachment) -> list[VirtualMachineBlockDeviceAttachment]:
        """All that name the same device, or the same machine."""
        meta, machine = attachment["metadata"], attachment["spec"]["virtualMachineName"]
        return [*self.of_device(_device_value(attachment)), *self.of_machine(meta["namespace"], machine)]

    def of_device(self, value: str) -> list[VirtualMachineBlockDeviceAttachment]:
        """All that name the device of an index value, see ``usage.device_value``."""
        return [item.object() for item in self._attachments.by_index(usage.DEVICE_INDEX, value)]

    def accepted(self, machine: VirtualMachine) -> Iterator[VirtualMachineBlockDeviceAttachment]:
        """Those that bring the machine a device, or will once it is there, the oldest first."""
        for attachment, refused in self.judged(machine):
            if refused is None and not attachment["metadata"].get("deletionTimestamp"):
                yield attachment

    def judged(
        self, machine: VirtualMachine
    ) -> Iterator[tuple[VirtualMachineBlockDeviceAttachment, Refused | None]]:
        """All of the machine's, and why some bring nothing. One that is being deleted keeps its place."""
        meta, own = machine["metadata"], machine["spec"].get("blockDeviceRefs") or ()
        named, count = {(ref.get("kind"), ref.get("name")) for ref in own}, len(own)
        for attachment in self.of_machine(meta["namespace"], meta["name"]):
            ref = attachment["spec"]["blockDeviceRef"]
            device = (ref.get("kind"), ref.get("name"))
            other = self._older(attachment)
            if device in named:
                message = f'{device[0]} "{device[1]}" is in spec.blockDeviceRefs of the virtual machine already.'
                yield attachment, Refused(message, conflict=True)
            elif other is not None:
                message = f'{device[0]} "{device[1]}" is attached by "{other["metadata"]["name"]}" already.'
                yield attachment, Refused(message, conflict=True)
            elif count >= MAX_BLOCK_DEVICES:
                message = f"The virtual machine has {count} block devices already, {MAX_BLOCK_DEVICES} is maximum."
                yield attachment, Refused(message)
            else:
                count += 1
                yield attachment, None

    def _older(
        self, attachment: VirtualMachineBlockDeviceAttachment
    ) -> VirtualMachineBlockDeviceAttachment | None:
        """Another one for the same device: of an image to the same machine, of a disk to any."""
        ref = attachment["spec"]["blockDeviceRef"]
        for other in sorted(self.of_device(_device_value(attachment)), key=_age):
            if _age(other) >= _age(attachment):
                return None
            same = other["spec"]["virtualMachineName"] == attachment["spec"]["virtualMachineName"]
            if same or ref.get("kind") == VIRTUAL_DISK.kind:
                return other
        return None


def _age(attachment: VirtualMachineBlockDeviceAttachment) -> tuple[str, str]:
    meta = attachment["metadata"]
    return meta["creationTimestamp"], meta["uid"]


def _machine_values(attachment: VirtualMachineBlockDeviceAttachment) -> list[str]:
    return [f"{attachment['metadata']['namespace']}/{attachment['spec']['virtualMachineName']}"]


def _device_values(attachment: VirtualMachineBlockDeviceAttachment) -> list[str]:
    return [_device_value(attachment)]


def _device_value(attachment: VirtualMachineBlockDeviceAttachment) -> str:
    ref = attachment["spec"]["blockDeviceRef"]
    return usage.device_value(ref.get("kind") or "", attachment["metadata"]["namespace"], ref.get("name") or "")
