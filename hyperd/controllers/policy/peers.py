"""What of a cluster's objects NetworkPolicies speak of: Pods with their addresses, Services with their endpoints.

Each object is brought down to what is asked of it before it is kept, as a cluster may have very many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from hyperd.network.filters import Protocol
from hyperd.resources.core.pod import PodPhase
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values import meta, names
from hyperd.resources.values.meta import Key

SERVICE_LABEL: Final = "kubernetes.io/service-name"
"""Of an EndpointSlice: whose endpoints it has."""
_FINISHED = frozenset({PodPhase.SUCCEEDED, PodPhase.FAILED})
_PROTOCOLS: Final = {one.value.upper(): one for one in Protocol}


@dataclass(frozen=True, slots=True)
class PeerPod:
    """A Pod that has an address of its own. ``machine`` is the uid of the one whose it is; empty for others."""

    namespace: str
    labels: dict[str, str]
    addresses: tuple[int, ...]
    ports: Mapping[str, tuple[tuple[Protocol, int], ...]]
    machine: str


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service: who asks one of ``addresses`` there asks one of ``endpoints``, addresses with ports."""

    addresses: tuple[int, ...]
    protocol: Protocol
    port: int
    endpoints: tuple[tuple[int, int], ...]


def pod(obj: AnyObject) -> PeerPod | None:
    """None for one that no selector means: on its node's network, without address, or ended."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    addresses = tuple(found for text in _texts(status) if (found := _address(text)) is not None)
    if spec.get("hostNetwork") or not addresses or status.get("phase") in _FINISHED:
        return None
    ports: dict[str, list[tuple[Protocol, int]]] = defaultdict(list)
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            protocol = _PROTOCOLS.get(port.get("protocol") or "TCP")
            if port.get("name") and protocol is not None:
                ports[port["name"]].append((protocol, port["containerPort"]))
    labels = meta.labels(obj)
    named = {name: tuple(some) for name, some in ports.items()}
    return PeerPod(obj["metadata"]["namespace"], labels, addresses, named, labels.get(names.VM_UID_LABEL, ""))


def service_ports(services: Mapping[Key, Object], slices: Iterable[Object]) -> list[ServicePort]:
    """Of all Services, by their keys."""
    of_service: dict[Key, list[Object]] = defaultdict(list)
    for one in slices:
        key = Key(one["metadata"]["namespace"], meta.labels(one).get(SERVICE_LABEL, ""))
        of_service[key].append(one)
    return [
        found
        for key, service in services.items()
        for found in _ports(service.get("spec") or {}, service, of_service[key])
    ]


def _ports(spec: Object, service: Object, slices: list[Object]) -> Iterable[ServicePort]:
    told = [*(spec.get("clusterIPs") or (spec.get("clusterIP"),)), *(spec.get("externalIPs") or ())]
    balanced = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    told += [one.get("ip") for one in balanced]
    addresses = tuple(found for text in told if (found := _address(text)) is not None)
    for port in spec.get("ports") or () if addresses else ():
        protocol = _PROTOCOLS.get(port.get("protocol") or "TCP")
        if protocol is not None:
            name = port.get("name") or ""
            yield ServicePort(addresses, protocol, port["port"], tuple(_endpoints(slices, name, protocol)))


def _endpoints(slices: list[Object], name: str, protocol: Protocol) -> Iterable[tuple[int, int]]:
    for one in slices:
        for port in one.get("ports") or ():
            known = _PROTOCOLS.get(port.get("protocol") or "TCP")
            if (port.get("name") or "", known) != (name, protocol) or port.get("port") is None:
                continue
            # Whether one is ready is left aside: it may become so before that is heard.
            texts = (text for endpoint in one.get("endpoints") or () for text in endpoint.get("addresses") or ())
            for text in texts:
                if (address := _address(text)) is not None:
                    yield address, port["port"]


def trimmed_pod(obj: Object) -> Object:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    containers = [{"ports": one["ports"]} for one in spec.get("containers") or () if one.get("ports")]
    return {
        "metadata": _metadata(obj),
        "spec": {"hostNetwork": bool(spec.get("hostNetwork")), "containers": containers},
        "status": {name: status[name] for name in ("phase", "podIP", "podIPs") if name in status},
    }


def trimmed_service(obj: Object) -> Object:
    spec = obj.get("spec") or {}
    kept = {name: spec[name] for name in ("clusterIP", "clusterIPs", "externalIPs", "ports") if name in spec}
    return {"metadata": _metadata(obj), "spec": kept, "status": obj.get("status") or {}}


def trimmed_slice(obj: Object) -> Object:
    endpoints = [{"addresses": one.get("addresses") or ()} for one in obj.get("endpoints") or ()]
    return {"metadata": _metadata(obj), "endpoints": endpoints, "ports": obj.get("ports") or ()}


def _metadata(obj: Object) -> Object:
    known = obj["metadata"]
    kept = {name: known[name] for name in ("namespace", "name", "uid", "resourceVersion") if name in known}
    return kept | {"labels": known.get("labels") or {}}


def _texts(status: Object) -> Iterable[str]:
    return [one.get("ip") or "" for one in status.get("podIPs") or ()] or [status.get("podIP") or ""]


def _address(text: str | None) -> int | None:
    try:
        return int(IPv4Address(text or ""))
    except AddressValueError:
        return None
