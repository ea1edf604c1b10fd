"""What an object takes of a namespace's ResourceQuota, by Kubernetes' names of resources.

A disk is charged as the claim that stands for it, a snapshot with as many bytes as its disk has, and a machine as
its Pod for as long as it is started.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from hyperd.resources.schema.kind import Kind, Object
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
MADE: Final = frozenset({"Ready", "Resizing", "Exporting", "Migrating", "PVCLost"})
"""Phases of disks that have their volume: what is there is not refused."""
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
        (GROUP, "virtualmachines"),
        ("", "services"),
    )


def charges(kind: Kind, obj: Object, *, default_class: str) -> Charges:
    """All that ``obj`` takes; ``default_class`` is the StorageClass of disks that name none."""
    found = dict.fromkeys(counted(kind), Decimal(1))
    if kind.group == GROUP and kind.plural == "virtualdisks":
        found |= _of_disk(obj, default_class)
    elif kind.group == GROUP and kind.plural == "virtualdisksnapshots":
        found |= _of_snapshot(obj)
    elif kind.group == GROUP and kind.plural == "virtualmachines":
        found |= _of_machine(obj)
    elif not kind.group and kind.plural == "services":
        found |= _of_service(obj)
    return found


def _of_disk(disk: Object, default_class: str) -> Charges:
    claim, status = (disk.get("spec") or {}).get("persistentVolumeClaim") or {}, disk.get("status") or {}
    size = max(_number(claim.get("size")), _number(status.get("capacity")))
    class_ = claim.get("storageClassName") or status.get("storageClassName") or default_class
    # Two volumes, until it is moved.
    classes = [status["storageClassName"], target] if (target := moves_to(disk)) else [class_]
    found = {"requests.storage": size * len(classes)} | dict.fromkeys(
        ("persistentvolumeclaims", "count/persistentvolumeclaims"), Decimal(len(classes))
    )
    for name in filter(None, classes):
        found[f"{name}{CLASS_INFIX}requests.storage"] = size
        found[f"{name}{CLASS_INFIX}persistentvolumeclaims"] = Decimal(1)
    return found


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
    """The StorageClass that a disk with a volume is to be moved to; empty for none."""
    claim, status = (disk.get("spec") or {}).get("persistentVolumeClaim") or {}, disk.get("status") or {}
    wanted, has = claim.get("storageClassName"), status.get("storageClassName")
    return str(wanted) if status.get("phase") in MADE and wanted and has and wanted != has else ""


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
