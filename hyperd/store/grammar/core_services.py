"""What Kubernetes itself fills in and refuses of Services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from hyperd.errors import Cause
from hyperd.jsontypes import Json
from hyperd.resources.schema.kind import Object
from hyperd.store.grammar.faults import duplicate, forbidden, invalid, required, supported

_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_AFFINITIES: Final = ("ClientIP", "None")
_POLICIES: Final = ("Cluster", "Local")
_NODE_PORTS: Final = range(30000, 32768)
_NODE_PORT_FAULT: Final = (
    "provided port is not in the valid range. The range of valid ports is "
    f"{_NODE_PORTS.start}-{_NODE_PORTS.stop - 1}"
)
_PORT_FAULT: Final = "must be between 1 and 65535, inclusive"
_AFFINITY_SECONDS: Final = 10_800
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT_NAME: Final = re.compile(r"(?=[-0-9]{0,14}[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_FAULT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def default(service: Object) -> None:
    """Fill in Kubernetes' own defaults, in place."""
    spec = service.get("spec")
    if not isinstance(spec, dict):
        return
    spec["type"] = type_ = spec.get("type") or "ClusterIP"
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if spec["sessionAffinity"] == "ClientIP" and not spec.get("sessionAffinityConfig"):
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _AFFINITY_SECONDS}}
    if spec.get("ports"):
        # Null stands for a port without anything, as Go reads it.
        spec["ports"] = [port or {} for port in spec["ports"]]
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, "") and port.get("port"):
            port["targetPort"] = port["port"]
    if type_ in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec["internalTrafficPolicy"] = spec.get("internalTrafficPolicy") or "Cluster"
    if type_ in ("NodePort", "LoadBalancer"):
        spec["externalTrafficPolicy"] = spec.get("externalTrafficPolicy") or "Cluster"
    if type_ == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def check(new: Object, old: Object | None) -> Iterator[Cause]:
    """What Kubernetes would refuse of a Service that has its defaults."""
    spec: Object = new.get("spec") or {}
    if not spec:
        yield required("spec.ports")
        return
    type_, ports = spec["type"], spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    yield from supported("spec.type", type_, _TYPES)
    if not ports and not headless and type_ != "ExternalName":
        yield required("spec.ports")
    if headless and type_ in ("LoadBalancer", "NodePort"):
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {type_} services")
    if type_ == "ExternalName":
        yield from _check_external_name(spec)
    yield from supported("spec.sessionAffinity", spec["sessionAffinity"], _AFFINITIES)
    for field in ("internalTrafficPolicy", "externalTrafficPolicy"):
        if spec.get(field):
            yield from supported(f"spec.{field}", spec[field], _POLICIES)
    if spec.get("externalTrafficPolicy") and type_ == "ClusterIP" and not spec.get("externalIPs"):
        text = "may only be set for externally-accessible services"
        yield invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], text)
    yield from _check_addresses(spec, old)
    yield from _check_ports(ports, type_)


def _check_external_name(spec: Object) -> Iterator[Cause]:
    if spec.get("clusterIP") or spec.get("clusterIPs"):
        yield forbidden("spec.clusterIPs", "may not be set for ExternalName services")
    name = str(spec.get("externalName") or "").removesuffix(".")
    if not name:
        yield required("spec.externalName")
    elif len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        yield invalid("spec.externalName", spec["externalName"], "a lowercase RFC 1123 subdomain is needed")


def _check_addresses(spec: Object, old: Object | None) -> Iterator[Cause]:
    own = spec.get("clusterIP")
    former = ((old or {}).get("spec") or {}).get("clusterIP")
    if own and own != "None" and not _is_address(own):
        yield invalid("spec.clusterIPs[0]", own, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
    if former and own and own != former and spec["type"] != "ExternalName":
        yield invalid("spec.clusterIPs[0]", own, "may not change once set")
    for index, address in enumerate(spec.get("externalIPs") or ()):
        if not _is_address(address):
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            yield invalid(f"spec.externalIPs[{index}]", address, text)
    for index, source in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        try:
            ip_network(str(source).strip(), strict=False)
        except ValueError:
            text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield invalid(f"spec.loadBalancerSourceRanges[{index}]", source, text)


def _check_ports(ports: Sequence[Object], type_: str) -> Iterator[Cause]:
    names: set[str] = set()
    taken: set[tuple[Json, Json]] = set()
    nodes: set[tuple[Json, Json]] = set()
    for index, port in enumerate(ports):
        path, name, protocol = f"spec.ports[{index}]", port.get("name") or "", port.get("protocol")
        if not name and len(ports) > 1:
            yield required(f"{path}.name")
        elif name and not _LABEL.fullmatch(name[:64]):
            yield invalid(f"{path}.name", name, _LABEL_FAULT)
        elif name and name in names:
            yield duplicate(f"{path}.name", name)
        names.add(name)
        number = port.get("port") or 0
        if not 1 <= number <= 65535:
            yield invalid(f"{path}.port", number, _PORT_FAULT)
        yield from supported(f"{path}.protocol", protocol, _PROTOCOLS)
        yield from _check_target(f"{path}.targetPort", port.get("targetPort") or 0)
        if (number, protocol) in taken:
            yield duplicate(path, {"port": number, "protocol": protocol})
        taken.add((number, protocol))
        node = port.get("nodePort") or 0
        if not node:
            continue
        if type_ == "ClusterIP":
            yield forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'")
        elif node not in _NODE_PORTS:
            yield invalid(f"{path}.nodePort", node, _NODE_PORT_FAULT)
        elif (node, protocol) in nodes:
            yield duplicate(f"{path}.nodePort", node)
        nodes.add((node, protocol))


def _check_target(path: str, target: Json) -> Iterator[Cause]:
    if isinstance(target, int):
        if not 1 <= target <= 65535:
            yield invalid(path, target, _PORT_FAULT)
    elif len(str(target)) > 15:
        yield invalid(path, target, "must be no more than 15 characters")
    elif not _PORT_NAME.fullmatch(str(target)):
        text = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), and at least one letter"
        yield invalid(path, target, text)


def _is_address(text: Json) -> bool:
    try:
        found = ip_address(str(text))
    except ValueError:
        return False
    return "%" not in str(found)
