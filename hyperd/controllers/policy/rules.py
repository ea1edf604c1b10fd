"""NetworkPolicies as they are read: which machines they select, and what they let through.

Field by field this is networking.k8s.io/v1. What is left out and what is empty differ: no ``from`` is everybody, a
selector without terms selects all, one that is left out does not take part. One that cannot be read selects every
machine of its namespace and lets nothing through: the API server has judged it, so it is of a newer version, and
what it forbids is not known.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal

from hyperd.network import spans
from hyperd.network.filters import LAST_PORT, Protocol
from hyperd.network.spans import Spans
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.store.interface import Requirement

_log = logging.getLogger(__name__)
_OPERATORS: Final[dict[str, Literal["in", "notin", "exists", "!exists"]]] = {
    "In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labels:
    """A selector: all of its terms must hold."""

    terms: tuple[Requirement, ...] = ()

    def selects(self, labels: dict[str, str]) -> bool:
        return all(term.matches(labels) for term in self.terms)


EVERYTHING: Final = Labels()


@dataclass(frozen=True, slots=True)
class Peer:
    """Pods by labels, theirs and their namespaces'; without ``namespaces`` of the policy's own. Or addresses."""

    pods: Labels | None = None
    namespaces: Labels | None = None
    addresses: Spans | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """By number, or by the ``name`` that a Pod gives it."""

    protocol: Protocol
    first: int = 0
    last: int = LAST_PORT
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """None: every peer, every port."""

    peers: tuple[Peer, ...] | None = None
    ports: tuple[Port, ...] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """For a direction that it is about these are the rules; None where it is not about that."""

    namespace: str
    selector: Labels
    arriving: tuple[Rule, ...] | None
    leaving: tuple[Rule, ...] | None


def read(policy: AnyObject) -> Policy:
    """Never raises."""
    where = policy["metadata"]
    try:
        return _read(where["namespace"], policy.get("spec") or {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _log.warning(
            'NetworkPolicy "%s" in namespace %s cannot be read (%s): it shuts all machines there.',
            where["name"], where["namespace"], error,
        )  # fmt: skip
        return Policy(where["namespace"], EVERYTHING, (), ())


def _read(namespace: str, spec: Object) -> Policy:
    ingress, egress = spec.get("ingress") or (), spec.get("egress") or ()
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if egress else [])]
    if unknown := set(types) - {"Ingress", "Egress"}:
        raise ValueError(f"policyTypes: {', '.join(map(str, unknown))}")
    return Policy(
        namespace,
        _labels(spec.get("podSelector") or {}),
        tuple(_rule(one, "from") for one in ingress) if "Ingress" in types else None,
        tuple(_rule(one, "to") for one in egress) if "Egress" in types else None,
    )


def _rule(rule: Object, peers: str) -> Rule:
    return Rule(
        tuple(_peer(one) for one in rule[peers]) if rule.get(peers) else None,
        tuple(_port(one) for one in rule["ports"]) if rule.get("ports") else None,
    )


def _peer(peer: Object) -> Peer:
    if (block := peer.get("ipBlock")) is not None:
        holes = [span for text in block.get("except") or () for span in _spans(text)]
        return Peer(addresses=spans.without(_spans(block["cidr"]), spans.united(holes)))
    pods, namespaces = peer.get("podSelector"), peer.get("namespaceSelector")
    if pods is None and namespaces is None:
        raise ValueError("a peer that is none")
    return Peer(
        pods=None if pods is None else _labels(pods),
        namespaces=None if namespaces is None else _labels(namespaces),
    )


def _spans(text: str) -> Spans:
    """Nothing where it is of IPv6, which guests do not have."""
    network: IPv4Network | IPv6Network = ip_network(text, strict=False)
    return (spans.of_network(network),) if isinstance(network, IPv4Network) else ()


def _port(port: Object) -> Port:
    protocol, number, end = (
        Protocol((port.get("protocol") or "TCP").lower()),
        port.get("port"),
        port.get("endPort"),
    )
    if number is None:
        return Port(protocol)
    if isinstance(number, str):
        return Port(protocol, name=number)
    return Port(protocol, int(number), int(number if end is None else end))


def _labels(selector: Object) -> Labels:
    equal = (
        Requirement(key, "in", frozenset({value})) for key, value in (selector.get("matchLabels") or {}).items()
    )
    terms = (
        Requirement(one["key"], _OPERATORS[one["operator"]], frozenset(one.get("values") or ()))
        for one in selector.get("matchExpressions") or ()
    )
    return Labels((*equal, *terms))
