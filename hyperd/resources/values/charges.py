"""What an object takes of a namespace's ResourceQuota, by Kubernetes' names of resources.

A disk, or an image on a volume, is charged as the claim that its status names, from the write that names it; a
snapshot with as many bytes as its disk has, and a machine as its Pod for as long as it is started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.values.names import GROUP
from hyperd.resources.values.quantity import format_bytes, parse

Charges = Mapping[str, Decimal]

_BY_NAME: Final = frozenset({
    "configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets",
    "services",
})  # fmt: skip
"""Core resources that are also counted under their bare names."""
STARTED: Final = frozenset({"Starting", "Running", "Migrating", "Stopping", "Pause"})
_BYTES: Final = ("memory", "storage", "ephemeral-storage")
VCPU_OVERHEAD: Final = 8 << 20
EMULATION_OVERHEAD: Final = 128 << 20
"""Bytes more in a Pod whose guest may be emulated: what was translated is kept, ``TRANSLATED_BYTES`` at most."""
TRANSLATED_BYTES: Final = 64 << 20
BASE_OVERHEAD: Final = 64 << 20
"""Bytes that an instance needs beside the guest's memory, for each core and at all."""
MADE: Final = frozenset({"Ready", "Resizing", "Exporting", "Migrating", "PVCLost", "ImageLost"})
"""Phases of disks and images that have their volume: what is there is not refused."""
_MOVES: Final = frozenset({"Migrate", "MigrateLive"})
"""Operations that move a disk to another StorageClass."""
_ALIGNMENT: Final = 1 << 20
CLASS_INFIX: Final = ".storageclass.storage.k8s.io/"


def counted(kind: Kind) -> tuple[str, ...]:
    """Under which names an object of ``kind`` counts as one."""
    name = f"count/{kind.plural}.{kind.group}" if kind.group else f"count/{kind.plural}"
    return (name, kind.plural) if not kind.group and kind.plural in _BY_NAME else (name,)


def measured(kind: Kind) -> bool:
    """Whether objects of ``kind`` take more than their number, which only a look at them tells."""
    return (kind.group, kind.plural) in (
        (GROUP, "virtualdisks"),
        (GROUP, "virtualdisksnapshots"),
        (GROUP, "virtualimages"),
        (GROUP, "virtualmachines"),
        ("", "services"),
    )


def charges(kind: Kind, obj: Object) -> Charges:
    """All that ``obj`` takes as it is."""
    found = dict.fromkeys(counted(kind), Decimal(1))
    if kind.group == GROUP and kind.plural in ("virtualdisks", "virtualimages"):
        found |= _of_claim(obj)
    elif kind.group == GROUP and kind.plural == "virtualdisksnapshots":
        found |= _of_snapshot(obj)
    elif kind.group == GROUP and kind.plural == "virtualmachines":
        found |= _of_machine(obj)
    elif not kind.group and kind.plural == "services":
        found |= _of_service(obj)
    return found


def asked(kind: Kind, obj: Object, *, default_class: str) -> Charges:
    """What a new ``obj`` will take, its claim included; ``default_class`` is that of disks which name none."""
    found = dict(charges(kind, obj))
    if kind.group == GROUP and kind.plural == "virtualdisks":
        claim = (obj.get("spec") or {}).get("persistentVolumeClaim") or {}
        found |= _claims(_number(claim.get("size")), [claim.get("storageClassName") or default_class])
    return found


def _of_claim(obj: Object) -> Charges:
    """Of a disk or an image, while its status names a claim."""
    status = obj.get("status") or {}
    if not claim_of(obj):
        return {}
    classes = [status.get("storageClassName") or ""]
    if target := moves_to(obj):
        classes.append(target)  # two volumes, until it is moved
    return _claims(Decimal(claimed_bytes(obj)), classes)


def _claims(size: Decimal, classes: Sequence[str]) -> dict[str, Decimal]:
    """Of a claim of each class."""
    found = {"requests.storage": size * len(classes)} | dict.fromkeys(
        ("persistentvolumeclaims", "count/persistentvolumeclaims"), Decimal(len(classes))
    )
    for name in filter(None, classes):
        found[f"{name}{CLASS_INFIX}requests.storage"] = size
        found[f"{name}{CLASS_INFIX}persistentvolumeclaims"] = Decimal(1)
    return found


def claim_of(obj: AnyObject) -> str:
    """The name of the claim of a disk, or of an image on a volume; empty where there is none."""
    target = (obj.get("status") or {}).get("target") or {}
    return str(target.get("persistentVolumeClaimName") or "")


def claimed_bytes(obj: AnyObject) -> int:
    """What the claim of a disk or image asks for, or has where that is more."""
    status = obj.get("status") or {}
    size, unpacked = status.get("capacity"), (status.get("size") or {}).get("unpackedBytes")
    found = max(_number((status.get("target") or {}).get("size")), _number(size))
    return max(int(found), -(-int(_number(unpacked)) // _ALIGNMENT) * _ALIGNMENT)


def _of_snapshot(snapshot: Object) -> Charges:
    """As much as its disk was: so much is kept of it once all of the disk is written anew."""
    status = snapshot.get("status") or {}
    source = status.get("source") or {}
    if status.get("phase") == "Failed" and not status.get("volumeSnapshotName"):
        return {}
    found = {"requests.storage": _number(source.get("size"))}
    if class_ := source.get("storageClassName"):
        found[f"{class_}{CLASS_INFIX}requests.storage"] = found["requests.storage"]
    return found


def moves_to(disk: Object) -> str:
    """The StorageClass that a disk is being moved to, and is not in yet; empty for none."""
    status = disk.get("status") or {}
    operation = status.get("operation") or {}
    moved = str(operation.get("digest") or "").split(" ") if operation.get("kind") in _MOVES else []
    return moved[1] if len(moved) > 1 and moved[1] != status.get("storageClassName") else ""


def _of_machine(machine: Object) -> Charges:
    status = machine.get("status") or {}
    resources = status.get("resources") or {}
    cpu, memory = resources.get("cpu") or {}, resources.get("memory") or {}
    phase = status.get("phase")
    # What is being deleted holds its share until its instance is gone.
    if phase not in STARTED and not (phase == "Terminating" and cpu.get("requestedCores")):
        return {}
    cores = int(cpu.get("cores") or 0)
    text = str(cpu.get("coreFraction") or "100%").removesuffix("%")
    milli = -(-cores * 1000 * (int(text) if text.isdecimal() else 100) // 100)
    needed = _number(memory.get("size")) + BASE_OVERHEAD + cores * VCPU_OVERHEAD
    found = dict.fromkeys(("pods", "count/pods"), Decimal(1))
    found |= dict.fromkeys(("cpu", "requests.cpu"), Decimal(milli) / 1000)
    found |= dict.fromkeys(("memory", "requests.memory", "limits.memory"), needed)
    return found | {"limits.cpu": Decimal(cores)}


def _of_service(service: Object) -> Charges:
    spec = service.get("spec") or {}
    found: dict[str, Decimal] = {}
    balanced = spec.get("type") == "LoadBalancer"
    if balanced:
        found["services.loadbalancers"] = Decimal(1)
    if spec.get("type") == "NodePort" or (balanced and spec.get("allocateLoadBalancerNodePorts") is not False):
        found["services.nodeports"] = Decimal(len(spec.get("ports") or ()))
    return found


def _number(value: str | int | None) -> Decimal:
    try:
        return parse(value) if value is not None else Decimal(0)
    except ValueError:
        return Decimal(0)


def shown(resource: str, amount: Decimal) -> str:
    """``amount`` as Kubernetes writes it of ``resource``: ``3Gi``, ``500m``, ``7``."""
    if amount == amount.to_integral_value():
        whole = int(amount)
        return format_bytes(whole) if resource.endswith(_BYTES) else str(whole)
    return f"{int(amount * 1000)}m"
