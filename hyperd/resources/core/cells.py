"""Table cells of core kinds that no JSONPath can express, worded as kubectl's own printers do."""

from __future__ import annotations

from typing import Any

from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import DEFAULT_STORAGE_CLASS_ANNOTATION

NONE = "<none>"
UNKNOWN = "<unknown>"
_ROLE_PREFIX = "node-role.kubernetes.io/"
_ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _part(obj: Object, *path: str) -> Any:
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def data_count(obj: Object) -> int:
    """Number of keys of a Secret or ConfigMap."""
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def node_status(obj: Object) -> str:
    """``Ready``, ``NotReady`` or ``Unknown``, and whether it takes new work."""
    words = ["Unknown"]
    for condition in _part(obj, "status", "conditions") or ():
        if condition.get("type") == "Ready":
            words = ["Ready" if condition.get("status") == "True" else "NotReady"]
    if _part(obj, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def node_roles(obj: Object) -> str:
    labels = _part(obj, "metadata", "labels") or {}
    roles = sorted(key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX))
    return ",".join(role for role in roles if role) or NONE


def _node_address(obj: Object, type_: str) -> str:
    for address in _part(obj, "status", "addresses") or ():
        if address.get("type") == type_:
            return str(address.get("address") or NONE)
    return NONE


def node_internal_ip(obj: Object) -> str:
    return _node_address(obj, "InternalIP")


def node_external_ip(obj: Object) -> str:
    return _node_address(obj, "ExternalIP")


def event_last_seen(obj: Object) -> str | None:
    """When the event last happened, whichever of the three forms it has."""
    return (
        _part(obj, "series", "lastObservedTime")
        or obj.get("lastTimestamp")
        or obj.get("eventTime")
        or obj.get("firstTimestamp")
    )


def event_first_seen(obj: Object) -> str | None:
    return obj.get("firstTimestamp") or obj.get("eventTime")


def event_object(obj: Object) -> str:
    """``virtualmachine/web``."""
    involved = obj.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def event_source(obj: Object) -> str:
    parts = (_part(obj, "source", "component") or obj.get("reportingComponent"), _part(obj, "source", "host"))
    return ", ".join(str(part) for part in parts if part)


def event_message(obj: Object) -> str:
    return str(obj.get("message") or "").strip()


def event_count(obj: Object) -> int:
    return int(_part(obj, "series", "count") or obj.get("count") or 1)


def storage_class_name(obj: Object) -> str:
    name = str(_part(obj, "metadata", "name") or "")
    default = (_part(obj, "metadata", "annotations") or {}).get(DEFAULT_STORAGE_CLASS_ANNOTATION) == "true"
    return f"{name} (default)" if default else name


def allows_expansion(obj: Object) -> bool:
    return bool(obj.get("allowVolumeExpansion"))


def service_external_ip(obj: Object) -> str:
    ingress = _part(obj, "status", "loadBalancer", "ingress") or ()
    found = [entry.get("ip") or entry.get("hostname") for entry in ingress]
    found += _part(obj, "spec", "externalIPs") or []
    return ",".join(str(address) for address in found if address) or NONE


def service_ports(obj: Object) -> str:
    texts = []
    for port in _part(obj, "spec", "ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(texts) or NONE


def service_selector(obj: Object) -> str:
    selector = _part(obj, "spec", "selector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) or NONE


def quota_requests(obj: Object) -> str:
    """``pods: 1/10, requests.cpu: 500m/2``: what is taken of each resource that is no limit."""
    return _quota(obj, limits=False)


def quota_limits(obj: Object) -> str:
    """The same of resources whose names begin with limits."""
    return _quota(obj, limits=True)


def _quota(obj: Object, *, limits: bool) -> str:
    hard, used = _part(obj, "status", "hard") or {}, _part(obj, "status", "used") or {}
    names = sorted(name for name in hard if name.startswith("limits") is limits)
    return ", ".join(f"{name}: {used.get(name, 0)}/{hard[name]}" for name in names)


def pod_ready(obj: Object) -> str:
    statuses = _part(obj, "status", "containerStatuses") or ()
    ready = sum(1 for status in statuses if status.get("ready"))
    return f"{ready}/{len(_part(obj, 'spec', 'containers') or ())}"


def pod_status(obj: Object) -> str:
    if _part(obj, "metadata", "deletionTimestamp"):
        return "Terminating"
    return str(_part(obj, "status", "reason") or _part(obj, "status", "phase") or UNKNOWN)


def pod_restarts(obj: Object) -> str:
    statuses = _part(obj, "status", "containerStatuses") or ()
    return str(sum(int(status.get("restartCount", 0)) for status in statuses))


def access_modes(obj: Object) -> str:
    """``RWO,ROX``: of a claim's status, or a volume's spec."""
    modes = _part(obj, "status", "accessModes") or _part(obj, "spec", "accessModes") or ()
    return ",".join(_ACCESS_MODES.get(mode, str(mode)) for mode in modes)


def volume_claim(obj: Object) -> str:
    claim = _part(obj, "spec", "claimRef") or {}
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def event_reporter(obj: Object) -> str:
    """The component alone, as a selector asks for it."""
    return str(_part(obj, "source", "component") or obj.get("reportingComponent") or "")


def node_unschedulable(obj: Object) -> str:
    """``true`` or ``false``, also where the field is not set."""
    return "true" if _part(obj, "spec", "unschedulable") else "false"
