"""Who uses what: machines by the devices, addresses and classes that they name.

Indexes over the informer of VirtualMachines, and the mappers that tell the owners of those things when a machine
changes. Used means: in the spec, or still in the status of a machine that is not stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from hyperd.controllers.context import Context
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
)
from hyperd.resources.kinds.data_source import InUseReason
from hyperd.resources.kinds.virtual_disk import VirtualDiskCondition, VirtualDiskPhase
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import AnyObject, Kind
from hyperd.resources.values.conditions import find_condition
from hyperd.runtime.controller import Key, Mapper
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.cluster_virtual_image import ClusterVirtualImage
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_image import VirtualImage
    from hyperd.resources.views.virtual_machine import VirtualMachine

    Image: TypeAlias = VirtualImage | ClusterVirtualImage
    Device: TypeAlias = VirtualDisk | Image

DEVICE_INDEX = "device"
CLASS_INDEX = "class"
UID_INDEX = "uid"
READ = "is being read for an image or an export; the machine starts when that is done"
"""Of a disk: the end of a sentence."""
MOVED: Final = "is being moved to another StorageClass; it can be used when that is done"
"""Likewise."""

_READERS: Final = (InUseReason.USED_FOR_IMAGE_CREATION, InUseReason.USED_FOR_DATA_EXPORT)

IMAGE_KINDS: Final[Mapping[str, Kind[Image]]] = {
    VIRTUAL_IMAGE.kind: VIRTUAL_IMAGE,
    CLUSTER_VIRTUAL_IMAGE.kind: CLUSTER_VIRTUAL_IMAGE,
}
"""By their names, as references have them."""
DEVICE_KINDS: Final[Mapping[str, Kind[Device]]] = {VIRTUAL_DISK.kind: VIRTUAL_DISK, **IMAGE_KINDS}


def device_value(kind: str, namespace: str, name: str) -> str:
    """The index value of a device; a cluster image has no namespace."""
    return f"{kind}/{'' if kind == CLUSTER_VIRTUAL_IMAGE.kind else namespace}/{name}"


def references(machine: VirtualMachine) -> Iterable[tuple[str, str]]:
    """Kind and name of each device that the spec names or the instance still holds; some twice."""
    status = machine.get("status") or {}
    for ref in (*(machine["spec"].get("blockDeviceRefs") or ()), *(status.get("blockDeviceRefs") or ())):
        if (kind := ref.get("kind")) and (name := ref.get("name")):
            yield kind, name


def devices_of(machine: VirtualMachine) -> list[str]:
    """Index values of all devices that a machine names."""
    namespace = machine["metadata"]["namespace"]
    return sorted({device_value(kind, namespace, name) for kind, name in references(machine)})


def class_of(machine: VirtualMachine) -> list[str]:
    name = machine["spec"].get("virtualMachineClassName")
    return [name] if name else []


def uid_of(obj: AnyObject) -> list[str]:
    return [obj["metadata"]["uid"]]


def index_machines(machines: Informer[VirtualMachine]) -> None:
    """Make machines findable by what they use."""
    machines.add_index(DEVICE_INDEX, devices_of)
    machines.add_index(CLASS_INDEX, class_of)


def machines_using(
    machines: Informer[VirtualMachine], kind: Kind, namespace: str, name: str
) -> Sequence[Item[VirtualMachine]]:
    """The machines that name the device."""
    return machines.by_index(DEVICE_INDEX, device_value(kind.kind, namespace, name))


def is_off(machine: VirtualMachine) -> bool:
    """Whether the machine neither runs nor is about to, by its status."""
    phase = (machine.get("status") or {}).get("phase")
    return phase in (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED)


def names(machine: VirtualMachine, kind: Kind, name: str) -> bool:
    """Whether the machine's spec names the device."""
    refs = machine["spec"].get("blockDeviceRefs") or ()
    return any(ref.get("kind") == kind.kind and ref.get("name") == name for ref in refs)


def mounts(machine: VirtualMachine, kind: Kind, name: str) -> bool:
    """Whether the machine holds the device open, or is about to: it starts with it, or runs with it attached."""
    status = machine.get("status") or {}
    return not is_off(machine) and any(
        ref.get("kind") == kind.kind
        and ref.get("name") == name
        and (ref.get("attached") or status["phase"] == VirtualMachinePhase.STARTING)
        for ref in status.get("blockDeviceRefs") or ()
    )


def reader(disk: VirtualDisk) -> InUseReason | None:
    """What the disk is being read for; None where it is not. Meanwhile no machine may start with it."""
    used = find_condition(disk, VirtualDiskCondition.IN_USE)
    return next((why for why in _READERS if used is not None and used["reason"] == why), None)


def running_user(context: Context, namespace: str, disk: str) -> str:
    """The name of a machine that names the disk and runs, or is about to; empty for none."""
    for machine in machines_using(context.informer(VIRTUAL_MACHINE), VIRTUAL_DISK, namespace, disk):
        domain = context.hypervisor.last_known.get(machine.uid)
        if not is_off(machine.object()) or (domain is not None and domain.active):
            return machine.name
    return ""


def is_moved(disk: VirtualDisk) -> bool:
    """Whether the disk is being moved to another StorageClass: nobody may use it."""
    return (disk.get("status") or {}).get("phase") == VirtualDiskPhase.MIGRATING


def is_being_fetched(disk: VirtualDisk) -> bool:
    """Whether the disk is used before its image is on the node: nothing but its guest may read or change it."""
    return find_condition(disk, VirtualDiskCondition.IMAGE_FETCHED) is not None


def unusable(disk: VirtualDisk) -> str:
    """Why no machine may start with the disk, the end of a sentence; empty where it may."""
    if is_moved(disk):
        return MOVED
    return READ if reader(disk) else ""


def device_keys(kind: Kind) -> Mapper:
    """From a changed machine to the devices of ``kind`` that it names."""

    def keys(item: Item) -> Iterable[Key]:
        for ref_kind, name in references(item.object()):
            if ref_kind == kind.kind:
                yield Key(item.namespace if kind.namespaced else "", name)

    return keys


def machine_keys(machines: Informer[VirtualMachine], kind: Kind) -> Mapper:
    """From a changed device of ``kind`` to the machines that name it."""

    def keys(item: Item) -> Iterable[Key]:
        for machine in machines.by_index(DEVICE_INDEX, device_value(kind.kind, item.namespace, item.name)):
            yield Key(machine.namespace, machine.name)

    return keys
