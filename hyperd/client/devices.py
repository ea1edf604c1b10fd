"""Disks and images at machines, and disks that grow, as the objects and patches that ``hv`` and the TUI send."""

from __future__ import annotations

from hyperd.client.amounts import quantity
from hyperd.client.health import health
from hyperd.client.shapes import mapping
from hyperd.client.snapshots import resource
from hyperd.errors import BadRequest, Conflict, NotFound
from hyperd.resources.values.quantity import format_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from hyperd.resources.schema.kind import Object

ATTACHMENT = "VirtualMachineBlockDeviceAttachment"
DEVICES = ("VirtualDisk", "VirtualImage", "ClusterVirtualImage")


def attachment(namespace: str, kind: str, name: str, machine: str) -> Object:
    """What attaches a device to a machine."""
    spec = {"virtualMachineName": machine, "blockDeviceRef": {"kind": kind, "name": name}}
    metadata = {"generateName": f"{machine}-{name}-", "namespace": namespace}
    return {
        "apiVersion": resource(ATTACHMENT).api_version, "kind": ATTACHMENT, "metadata": metadata, "spec": spec,
    }  # fmt: skip


def attached_by(attachments: Iterable[Object], kind: str, name: str, machine: str = "") -> Object:
    """The one that attaches a device, to ``machine`` where that is given.

    Raises NotFound for none, Conflict for several.
    """
    found = [
        each
        for each in attachments
        if (spec := mapping(each.get("spec"))).get("blockDeviceRef") == {"kind": kind, "name": name}
        and machine in ("", spec.get("virtualMachineName"))
    ]
    if not found:
        where = f" to {machine}" if machine else ""
        raise NotFound(
            f"{kind} {name} is not attached{where} by a {ATTACHMENT}; a device in a machine's spec is taken out "
            "there."
        )
    if len(found) > 1:
        machines = ", ".join(str(each["spec"].get("virtualMachineName")) for each in found)
        raise Conflict(f"{kind} {name} is attached to {machines}: say from which it is to go.")
    return found[0]


def grown(disk: Object, wanted: str) -> str:
    """The new size of a disk: ``20Gi``, or ``+10Gi`` beyond what it has. Raises BadRequest."""
    now = quantity(mapping(disk.get("status")).get("capacity"))
    length = quantity(wanted.removeprefix("+"))
    name = disk["metadata"]["name"]
    if length is None or length <= 0:
        raise BadRequest(f"{wanted} is no size: write 20Gi, or +10Gi for so much more.")
    if now is None:
        raise BadRequest(f"VirtualDisk {name} is {health(disk).word or 'Pending'}, and has no size yet.")
    if not wanted.startswith("+"):
        if length < now:
            raise BadRequest(f"VirtualDisk {name} has {disk['status']['capacity']}, and disks only grow.")
        return wanted
    return format_bytes(int(now + length))


def growth(size: str) -> Object:
    """The patch that asks for it."""
    return {"spec": {"persistentVolumeClaim": {"size": size}}}


def has(disk: Object, size: str) -> bool:
    """Whether a disk is as large as was asked for, and done with growing."""
    now, wanted = quantity(mapping(disk.get("status")).get("capacity")), quantity(size)
    return now is not None and wanted is not None and now >= wanted and health(disk).word == "Ready"
