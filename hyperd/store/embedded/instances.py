"""From a machine and the devices that its status names to its instance, as the reference's KubeVirt shows that."""

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
    meta, spec, status = machine["metadata"], machine["spec"], machine.get("status") or {}
    if status.get("phase") in _WITHOUT or not status.get("nodeName"):
        return None
    attached = [
        (ref, devices[key]) for ref, key in zip(_refs(machine), _keys(machine), strict=True) if key in devices
    ]
    seeds = list(_seeds(machine))
    owner = {
        "apiVersion": machine["apiVersion"],
        "kind": machine["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
    }
    starting = status["phase"] == VirtualMachinePhase.STARTING
    return {
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": _uid(machine),
            "creationTimestamp": meta["creationTimestamp"],
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            **{name: meta[name] for name in ("labels", "deletionTimestamp") if name in meta},
        },
        "spec": {
            **({"nodeSelector": spec["nodeSelector"]} if spec.get("nodeSelector") else {}),
            "domain": {
                "devices": {
                    "disks": [
                        *(_disk(machine, ref, device) for ref, device in attached),
                        *(_seed(machine, name) for name in seeds),
                    ],
                    "interfaces": list(_interfaces(machine)),
                }
            },
            "volumes": [*(_volume(ref, device) for ref, device in attached), *({"name": name} for name in seeds)],
        },
        "status": {
            "phase": "Scheduling" if starting else "Running",
            "nodeName": status["nodeName"],
            "volumeStatus": [_volume_status(ref) for ref, _ in attached],
        },
    }


def _refs(machine: Object) -> Iterator[Object]:
    for ref in (machine.get("status") or {}).get("blockDeviceRefs") or ():
        if ref.get("attached") and ref.get("kind") in _PREFIX and ref.get("name"):
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


def _uid(machine: Object) -> str:
    """Another one with each start."""
    running = find_condition(machine, VirtualMachineCondition.RUNNING)
    since = "" if running is None else running.get("lastTransitionTime", "")
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{INSTANCE_GROUP}/{machine['metadata']['uid']}/{since}"))
