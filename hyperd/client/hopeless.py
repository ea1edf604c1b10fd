"""What cannot come by itself, however long one waits: what it needs failed, is not there, or is refused."""

from __future__ import annotations

from hyperd.client.health import Level, condition, conditions, health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Object = dict[str, Any]
    Find = Callable[[str, str, str], Object | None]
    """(kind, namespace, name) → the object, or None where there is none. Raises HyperdError."""

_DEEPEST = 6
_CLUSTER_WIDE = frozenset(("ClusterVirtualImage", "VirtualMachineClass"))
_REFUSED = ("Quota", "Forbidden", "NotAllowed", "Invalid")


def cannot_come(obj: Object, find: Find, *, depth: int = _DEEPEST) -> str:
    """Why ``obj`` will not become ready unless somebody does something; empty where it still may."""
    state = health(obj)
    if state.level is Level.BAD:
        return f"{_named(obj)} is {state.word}" + (f": {state.reason}" if state.reason else "")
    if state.level in (Level.GOOD, Level.OFF) or depth <= 0:
        return ""
    for entry in conditions(obj):
        reason = str(entry.get("reason") or "")
        if entry.get("status") == "False" and any(word in reason for word in _REFUSED):
            return f"{_named(obj)}: {entry.get('message') or reason}"
    here = str((obj.get("metadata") or {}).get("namespace") or "")
    for kind, named, name in _needs(obj):
        namespace = "" if kind in _CLUSTER_WIDE else named or here
        if not namespace and kind not in _CLUSTER_WIDE:
            continue  # of an object in no namespace that does not say where the other is
        found = find(kind, namespace, name)
        if found is None:
            return f"{_named(obj)} needs {kind} {name}, which does not exist"
        if why := cannot_come(found, find, depth=depth - 1):
            return f"{_named(obj)} waits for {kind} {name}; {why}"
    return ""


def cannot_go(obj: Object, find: Find) -> str:
    """Why an object that is being deleted stays; empty where it may still go by itself."""
    namespace = str((obj.get("metadata") or {}).get("namespace") or "")
    users = (obj.get("status") or {}).get("attachedToVirtualMachines")
    for user in users if isinstance(users, list) else ():
        name = str(user.get("name") or "") if isinstance(user, dict) else ""
        machine = find("VirtualMachine", namespace, name) if name else None
        if machine is None or (machine.get("metadata") or {}).get("deletionTimestamp"):
            continue
        state = health(machine)
        if state.word not in ("Stopping", "Stopped"):
            return f"VirtualMachine {name} uses it and is {state.word}; it goes when {name} stops or is deleted"
    entry = condition(obj, "Terminating") or {}
    return "" if entry.get("status") != "True" or not users else str(entry.get("message") or "")


def _named(obj: Object) -> str:
    return f"{obj.get('kind') or 'object'} {(obj.get('metadata') or {}).get('name')}"


def _needs(obj: Object) -> list[tuple[str, str, str]]:
    """What the object's spec refers to: (kind, namespace where it is said, name)."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return []
    found: list[tuple[str, str, str]] = []
    if spec.get("virtualMachineClassName"):
        found.append(("VirtualMachineClass", "", str(spec["virtualMachineClassName"])))
    references = spec.get("blockDeviceRefs")
    source = spec.get("dataSource")
    entries = [*(references if isinstance(references, list) else ())]
    entries.append(source.get("objectRef") if isinstance(source, dict) else None)
    for entry in entries:
        if isinstance(entry, dict) and entry.get("kind") and entry.get("name"):
            found.append((str(entry["kind"]), str(entry.get("namespace") or ""), str(entry["name"])))
    if obj.get("kind") == "VirtualMachineOperation" and spec.get("type") == "Start":
        found.append(("VirtualMachine", "", str(spec.get("virtualMachineName"))))
    return found
