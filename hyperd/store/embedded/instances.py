"""From a machine and the devices that its status names to what the reference's KubeVirt shows of it.

That is one object for the machine, and one for its instance while it has one. Both name the same volumes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from hyperd.resources.kinds.virtual_machine import OsType
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.conditions import find_condition
from hyperd.resources.values.names import INSTANCE_GROUP
from hyperd.resources.values.serials import serial_of
from hyperd.store.embedded.reading import EmbeddedReader
from hyperd.store.interface import Item

INSTANCES: Final = "internalvirtualizationvirtualmachineinstances"
MACHINES: Final = "internalvirtualizationvirtualmachines"
DEVICES: Final = ("virtualdisks", "virtualimages", "clustervirtualimages")
"""Kinds that a device may be of."""
_PREFIX: Final = {"VirtualDisk": "vd", "VirtualImage": "vi", "ClusterVirtualImage": "cvi"}
_WITHOUT: Final = (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED)
_SEEDS: Final = {"UserData": "cloudinit", "UserDataRef": "cloudinit", "SysprepRef": "sysprep"}
_PROVISIONING: Final = "provisioning"
_SLICE: Final = 32
"""Machines whose devices are looked up at once."""

Device = tuple[str, bool, str]
"""uid, whether it is an optical disc, its claim."""
Devices = Mapping[tuple[str, str, str], Device]
"""By kind, namespace and name."""


async def devices_of(store: EmbeddedReader, kinds: Mapping[str, Kind], machines: Sequence[Item]) -> Devices:
    """What the machines' statuses name, as far as there is any; ``kinds`` by their names."""
    found: dict[tuple[str, str, str], Device] = {}
    for number, machine in enumerate(machines):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)  # others' requests go on meanwhile
        for key in _keys(machine.object()):
            if key not in found and (kind := kinds.get(key[0])) is not None:
                device = await store.find(kind, key[1], key[2])
                if device is not None:
                    found[key] = _device(device)
    return found


def used_by(machine: Object, devices: Devices) -> tuple[Device | None, ...]:
    """Those of the machine, in its order."""
    return tuple(devices.get(key) for key in _keys(machine))


def instance_of(machine: Object, devices: Devices) -> Object | None:
    """None while it has none."""
    if not _has_instance(machine):
        return None
    running = find_condition(machine, VirtualMachineCondition.RUNNING)
    since, status = "" if running is None else running.get("lastTransitionTime", ""), machine["status"]
    starting = status["phase"] == VirtualMachinePhase.STARTING
    return {
        "metadata": _metadata(machine, since),
        "spec": _spec(machine, devices),
        "status": {
            "phase": "Scheduling" if starting else "Running",
            "nodeName": status["nodeName"],
            "volumeStatus": [_volume_status(ref) for ref, _ in _named(machine, devices)],
        },
    }


def machine_of(machine: Object, devices: Devices) -> Object:
    """What its instance is made of, or the next one will be."""
    phase = (machine.get("status") or {}).get("phase") or VirtualMachinePhase.PENDING
    return {
        "metadata": _metadata(machine, MACHINES),
        "spec": {"template": {"spec": _spec(machine, devices)}},
        "status": {
            "created": _has_instance(machine),
            "ready": phase == VirtualMachinePhase.RUNNING,
            "printableStatus": str(phase),
        },
    }


def _has_instance(machine: Object) -> bool:
    status = machine.get("status") or {}
    return status.get("phase") not in _WITHOUT and bool(status.get("nodeName"))


def _metadata(machine: Object, of: str) -> Object:
    """Of an object that is another one for another ``of``."""
    meta = machine["metadata"]
    owner = {
        "apiVersion": machine["apiVersion"],
        "kind": machine["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
    }
    return {
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{INSTANCE_GROUP}/{meta['uid']}/{of}")),
        "creationTimestamp": meta["creationTimestamp"],
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        **{name: meta[name] for name in ("labels", "deletionTimestamp") if name in meta},
    }


def _named(machine: Object, devices: Devices) -> Sequence[tuple[Object, Device]]:
    pairs = zip(_refs(machine), _keys(machine), strict=True)
    return [(ref, devices[key]) for ref, key in pairs if key in devices]


def _spec(machine: Object, devices: Devices) -> Object:
    spec, named, seeds = machine["spec"], _named(machine, devices), list(_seeds(machine))
    disks = [*(_disk(machine, ref, device) for ref, device in named), *(_seed(machine, name) for name in seeds)]
    return {
        **({"nodeSelector": spec["nodeSelector"]} if spec.get("nodeSelector") else {}),
        "domain": {"devices": {"disks": disks, "interfaces": list(_interfaces(machine))}},
        "volumes": [*(_volume(ref, device) for ref, device in named), *({"name": name} for name in seeds)],
    }


def _refs(machine: Object) -> Iterator[Object]:
    """What its instance has; without one what it is to have."""
    off = not _has_instance(machine)
    for ref in (machine.get("status") or {}).get("blockDeviceRefs") or ():
        if (off or ref.get("attached")) and ref.get("kind") in _PREFIX and ref.get("name"):
            yield ref


def _keys(machine: Object) -> Iterator[tuple[str, str, str]]:
    for ref in _refs(machine):
        cluster_wide = ref["kind"] == "ClusterVirtualImage"
        yield ref["kind"], "" if cluster_wide else machine["metadata"]["namespace"], ref["name"]


def _device(device: Object) -> Device:
    status = device.get("status") or {}
    claim = (status.get("target") or {}).get("persistentVolumeClaimName") or ""
    return device["metadata"]["uid"], bool(status.get("cdrom")), claim


def _name(ref: Object) -> str:
    return f"{_PREFIX[ref['kind']]}-{ref['name']}"


def _disk(machine: Object, ref: Object, device: Device) -> Object:
    uid, cdrom, _ = device
    image = ref["kind"] != "VirtualDisk"
    on = {"bus": _bus(machine, ref, cdrom=cdrom, image=image), **({"readonly": True} if image else {})}
    order = {"bootOrder": ref["bootOrder"]} if ref.get("bootOrder") else {}
    if cdrom:
        return {"name": _name(ref), **order, "cdrom": on}
    return {"name": _name(ref), **order, "serial": serial_of(uid), "disk": on}


def _bus(machine: Object, ref: Object, *, cdrom: bool, image: bool) -> str:
    """As ``hypervisor.xml.devices.disk`` chooses it."""
    return "scsi" if ref.get("hotplugged") else _bus_within(machine, cdrom=cdrom, image=image)


def _bus_within(machine: Object, *, cdrom: bool, image: bool) -> str:
    """Of what was not plugged in."""
    spec = machine["spec"]
    legacy = spec.get("osType") == OsType.LEGACY
    if spec.get("enableParavirtualization", True):
        return "scsi" if not legacy else "ide" if cdrom else "virtio"
    if image and not cdrom:
        return "usb"
    return "ide" if legacy else "sata"


def _seed(machine: Object, name: str) -> Object:
    """As ``controllers.machine.plan`` attaches it: a disk for cloud-init, a CD-ROM for sysprep."""
    if name != "cloudinit":
        return {"name": name, "cdrom": {"bus": _bus_within(machine, cdrom=True, image=True), "readonly": True}}
    bus = "scsi" if machine["spec"].get("enableParavirtualization", True) else "usb"
    serial = serial_of(f"{machine['metadata']['uid']}/{name}")
    return {"name": name, "serial": serial, "disk": {"bus": bus, "readonly": True}}


def _volume(ref: Object, device: Device) -> Object:
    _, _, claim = device
    plugged = {"hotpluggable": True} if ref.get("hotplugged") else {}
    if claim:
        return {"name": _name(ref), "persistentVolumeClaim": {"claimName": claim, **plugged}}
    return {"name": _name(ref), "containerDisk": plugged}


def _volume_status(ref: Object) -> Object:
    plugged: Object = {"hotplugVolume": {}} if ref.get("hotplugged") else {}
    return {"name": _name(ref), "target": ref.get("target", ""), "phase": "Ready", **plugged}


def _seeds(machine: Object) -> Iterable[str]:
    """The disk that provisions the guest; what goes with the next restart is there until then."""
    provisioning = machine["spec"].get(_PROVISIONING)
    for change in (machine.get("status") or {}).get("restartAwaitingChanges") or ():
        if change.get("path") == _PROVISIONING:
            provisioning = change.get("currentValue")
    type_ = provisioning.get("type") if isinstance(provisioning, dict) else None
    return [_SEEDS[type_]] if type_ in _SEEDS else []


def _interfaces(machine: Object) -> Iterator[Object]:
    spec = machine["spec"]
    legacy, paravirt = spec.get("osType") == OsType.LEGACY, spec.get("enableParavirtualization", True)
    model = ("virtio-transitional" if legacy else "virtio") if paravirt else "rtl8139" if legacy else "e1000"
    for network in (machine.get("status") or {}).get("networks") or ():
        mac = {"macAddress": network["macAddress"]} if network.get("macAddress") else {}
        yield {
            "name": "default" if network.get("type") == "Main" else network.get("name", ""),
            **mac,
            "model": model,
        }
