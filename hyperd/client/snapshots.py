"""Snapshots, restores and copies as the objects that ``hv`` and the TUI create, and what they say of them."""

from __future__ import annotations

import time

from hyperd.client.health import condition, health
from hyperd.client.kinds import built_in
from hyperd.client.shapes import mapping, mappings
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

MACHINE, DISK = "VirtualMachine", "VirtualDisk"
OF_MACHINE, OF_DISK = "VirtualMachineSnapshot", "VirtualDiskSnapshot"
OPERATION, COPY = "VirtualMachineOperation", "VirtualMachineSnapshotOperation"
SNAPSHOTS = {MACHINE: OF_MACHINE, DISK: OF_DISK}
"""What a snapshot of each is."""
DRY_RUN, STRICT, BEST_EFFORT = "DryRun", "Strict", "BestEffort"
_ATTACHMENT, _SECRET = "VirtualMachineBlockDeviceAttachment", "Secret"
_COPIED = (MACHINE, DISK, _ATTACHMENT, _SECRET)
"""What a copy has of its own; its addresses are new anyhow."""
_LONGEST = 59
"""Characters of a name that a copy's objects may be given."""


def resource(kind: str) -> Resource:
    """One of hyperd's own kinds by its name."""
    return next(known for known in built_in() if known.kind == kind)


def source(snapshot: Object) -> tuple[str, str]:
    """(kind, name) of what it is a snapshot of."""
    spec = mapping(snapshot.get("spec"))
    if snapshot.get("kind") == OF_MACHINE:
        return MACHINE, str(spec.get("virtualMachineName") or "")
    return DISK, str(spec.get("virtualDiskName") or "")


def timed(name: str) -> str:
    """A name for a snapshot of ``name`` that is taken now."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"


def owned(snapshot: Object) -> bool:
    """Whether a disk's snapshot is a part of a machine's."""
    owners = mappings(mapping(snapshot.get("metadata")).get("ownerReferences"))
    return any(owner.get("kind") == OF_MACHINE for owner in owners)


def take(
    kind: str, namespace: str, of: str, name: str, *, consistent: bool | None = None, keep_ip: str = ""
) -> Object:
    """A snapshot of a machine or disk; ``consistent`` and ``keep_ip`` are the kind's defaults unless given."""
    spec: Object = {"virtualMachineName" if kind == MACHINE else "virtualDiskName": of}
    if consistent is not None:
        spec["requiredConsistency"] = consistent
    if keep_ip:
        spec["keepIPAddress"] = keep_ip
    return _object(SNAPSHOTS[kind], namespace, {"name": name}, spec)


def restore(namespace: str, machine: str, snapshot: str, mode: str) -> Object:
    """The operation that puts a machine back."""
    spec = {
        "type": "Restore",
        "virtualMachineName": machine,
        "restore": {"mode": mode, "virtualMachineSnapshotName": snapshot},
    }
    return _object(OPERATION, namespace, {"generateName": f"{machine}-"}, spec)


def clone(namespace: str, machine: str, mode: str, renames: Sequence[Object]) -> Object:
    """The operation that makes another machine of one that is there."""
    spec = {
        "type": "Clone",
        "virtualMachineName": machine,
        "clone": {"mode": mode, "nameReplacement": list(renames)},
    }
    return _object(OPERATION, namespace, {"generateName": f"{machine}-"}, spec)


def copy(namespace: str, snapshot: str, mode: str, renames: Sequence[Object]) -> Object:
    """The operation that makes a machine of a snapshot."""
    spec = {
        "type": "CreateVirtualMachine",
        "virtualMachineSnapshotName": snapshot,
        "createVirtualMachine": {"mode": mode, "nameReplacement": list(renames)},
    }
    return _object(COPY, namespace, {"generateName": f"{snapshot}-"}, spec)


def disk_of(namespace: str, snapshot: str, name: str) -> Object:
    """A disk made of the snapshot of one."""
    reference = {"kind": OF_DISK, "name": snapshot}
    spec = {"dataSource": {"type": "ObjectRef", "objectRef": reference}}
    return _object(DISK, namespace, {"name": name}, spec)


def _object(kind: str, namespace: str, metadata: Object, spec: Object) -> Object:
    version = resource(kind).api_version
    return {"apiVersion": version, "kind": kind, "metadata": {**metadata, "namespace": namespace}, "spec": spec}


def parts_of_machine(machine: Object, attachments: Iterable[Object]) -> list[tuple[str, str]]:
    """(kind, name) of what a machine consists of, itself first; ``attachments`` are those of its namespace."""
    name = str(machine["metadata"]["name"])
    spec = mapping(machine.get("spec"))
    found = [(MACHINE, name)]
    references: list[object] = [*mappings(spec.get("blockDeviceRefs"))]
    for each in attachments:
        wants = mapping(each.get("spec"))
        if wants.get("virtualMachineName") == name:
            found.append((_ATTACHMENT, str(each["metadata"]["name"])))
            references.append(wants.get("blockDeviceRef"))
    for reference in references:
        if isinstance(reference, dict) and reference.get("kind") == DISK:
            found.append((DISK, str(reference.get("name"))))
    provisioning = mapping(spec.get("provisioning"))
    for field in ("userDataRef", "sysprepRef"):
        reference = provisioning.get(field)
        if isinstance(reference, dict) and reference.get("kind") == _SECRET:
            found.append((_SECRET, str(reference.get("name"))))
    return list(dict.fromkeys(found))


def parts_of_snapshot(snapshot: Object) -> list[tuple[str, str]]:
    """(kind, name) of what a machine's snapshot holds."""
    held = mappings(mapping(snapshot.get("status")).get("resources"))
    return [(str(each.get("kind")), str(each.get("name"))) for each in held]


def renames(parts: Iterable[tuple[str, str]], machine: str, new: str) -> list[Object]:
    """What each object of a copy is called: ``web-root`` of ``web`` is ``shop-root`` of ``shop``.

    Raises BadRequest where a name becomes too long.
    """
    found: list[Object] = []
    for kind, name in parts:
        if kind not in _COPIED:
            continue
        to = (
            new
            if kind == MACHINE
            else f"{new}{name[len(machine) :]}"
            if _begins(name, machine)
            else f"{new}-{name}"
        )
        if len(to) > _LONGEST:
            raise BadRequest(
                f"Take a shorter name: {_LONGEST} characters are possible, and the copy of {kind} {name} would be "
                f"called {to}."
            )
        found.append({"from": {"kind": kind, "name": name}, "to": to})
    return found


def _begins(name: str, machine: str) -> bool:
    return name == machine or name.startswith(f"{machine}-")


def refusal(snapshot: Object) -> str:
    """Why nothing can be made of it; empty where it can."""
    state = health(snapshot)
    if state.word == "Ready":
        return ""
    return f"is {state.word or 'Pending'}, and must be Ready" + (f": {state.reason}" if state.reason else "")


def lost(machine: Object, snapshot: Object, *, since: str) -> str:
    """What somebody should know before a machine is put back; ``since`` is the age of the snapshot."""
    name = str(machine["metadata"]["name"])
    disks = [part for kind, part in parts_of_snapshot(snapshot) if kind == DISK]
    what = (
        f"the disk {disks[0]}" if len(disks) == 1 else f"the disks {', '.join(disks)}" if disks else "its settings"
    )
    text = f"What was written to {what} since the snapshot, {since} ago, is lost; so are later changes of {name}."
    spec = mapping(machine.get("spec"))
    kept = {part for kind, part in parts_of_snapshot(snapshot) if kind == DISK}
    newer = [
        str(each.get("name"))
        for each in mappings(spec.get("blockDeviceRefs"))
        if each.get("kind") == DISK and str(each.get("name")) not in kept
    ]
    if newer:
        text += f" It no longer has {', '.join(newer)}, which the snapshot does not hold; the disk stays."
    if health(machine).word not in ("Stopped", "Pending"):
        text += f" {name} is shut down for it, and started again."
    return text


def results(op: Object) -> list[tuple[str, str, str, str]]:
    """(kind, name, status, message) of each object of a restore or copy."""
    held = mappings(mapping(op.get("status")).get("resources"))
    return [
        (str(each.get("kind") or ""), str(each.get("name") or ""), str(each.get("status") or ""),
         str(each.get("message") or ""))
        for each in held
    ]  # fmt: skip


def verdict(op: Object) -> str:
    """Why an operation ended as it did: the message, or else the reason, of its Completed condition."""
    entry = condition(op, "Completed") or {}
    return str(entry.get("message") or entry.get("reason") or "no reason was given")
