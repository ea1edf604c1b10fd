"""From NetworkPolicies to what a machine's link lets through: a pure function of them and of the cluster's Pods.

Policies add up: a direction that none of those which select the machine is about is open, else what any of their
rules lets through passes. Who a Service leads to is judged, not the Service: a packet that leaves a guest for a
Service's address is let through if all of its endpoints are allowed, at the ports that they have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from hyperd.controllers.policy.peers import PeerPod, ServicePort
from hyperd.controllers.policy.rules import EVERYTHING, Labels, Peer, Policy, Port, Rule
from hyperd.network import spans
from hyperd.network.filters import SHUT, Direction, Filter, Grant, Target, TooLarge
from hyperd.network.spans import Spans

_log = logging.getLogger(__name__)
_MOST_PEERS = 1 << 9
"""Different selectors of Pods in the policies of one machine: each is tried with every Pod that it may mean."""


@dataclass
class Cluster:
    """What policies are judged by. ``addresses`` are the machines' own, by uid."""

    namespaces: Mapping[str, dict[str, str]]
    pods: Mapping[str, Sequence[PeerPod]]
    """By namespace."""
    addresses: Mapping[str, int] = field(default_factory=dict)
    services: Sequence[ServicePort] = ()
    _selected: dict[tuple[str, Labels | None, Labels | None], list[PeerPod]] = field(default_factory=dict)

    def selected(self, own: str, peer: Peer) -> list[PeerPod]:
        """The Pods that a peer means in a policy of the namespace ``own``."""
        key = _key(own, peer)
        found = self._selected.get(key)
        if found is None:
            labels = peer.pods or EVERYTHING
            places = [own] if peer.namespaces is None else namespaces_of(peer.namespaces, self.namespaces)
            found = [pod for place in places for pod in self.pods.get(place, ()) if labels.selects(pod.labels)]
            self._selected[key] = found
        return found

    def spans_of(self, pods: Iterable[PeerPod]) -> Spans:
        """All of their addresses, and those of the machines whose Pods they are."""
        return spans.united((one, one) for pod in pods for one in self._of(pod))

    def _of(self, pod: PeerPod) -> Iterator[int]:
        yield from pod.addresses
        if (own := self.addresses.get(pod.machine)) is not None:
            yield own


def _key(own: str, peer: Peer) -> tuple[str, Labels | None, Labels | None]:
    return "" if peer.namespaces is not None else own, peer.pods, peer.namespaces


def namespaces_of(selector: Labels, namespaces: Mapping[str, dict[str, str]]) -> list[str]:
    return [name for name, labels in namespaces.items() if selector.selects(labels)]


def peers_of(policies: Iterable[Policy]) -> Iterator[tuple[str, Peer]]:
    """Those that are Pods, with the namespaces of their policies."""
    for policy in policies:
        for rule in (*(policy.arriving or ()), *(policy.leaving or ())):
            yield from ((policy.namespace, peer) for peer in rule.peers or () if peer.addresses is None)


def make_filter(policies: Sequence[Policy], cluster: Cluster) -> Filter:
    """Of a machine that these policies select. Where they are too many, nothing is let through."""
    into = any(one.arriving is not None for one in policies)
    out = any(one.leaving is not None for one in policies)
    try:
        if len({_key(*one) for one in peers_of(policies)}) > _MOST_PEERS:
            raise TooLarge
        arriving = [(policy.namespace, rule) for policy in policies for rule in policy.arriving or ()]
        leaving = [(policy.namespace, rule) for policy in policies for rule in policy.leaving or ()]
        return Filter(
            _direction(arriving, cluster, _arriving) if into else None,
            _leads(_direction(leaving, cluster, _leaving), cluster.services) if out else None,
        )
    except TooLarge:
        _log.warning(
            "The NetworkPolicies of namespace %s let through more than a node can hold for a machine: nothing is.",
            policies[0].namespace,
        )
        return Filter(SHUT if into else None, SHUT if out else None)


Grants = Callable[[Cluster, Sequence[PeerPod], Spans, Port], Iterable[Grant]]
"""What a port of a rule comes to, for Pods that are peers, and other addresses."""


def _direction(rules: Sequence[tuple[str, Rule]], cluster: Cluster, granting: Grants) -> Direction | None:
    found = Direction.of(grant for own, rule in rules for grant in _grants(own, rule, cluster, granting))
    return None if found.is_open else found


def _grants(own: str, rule: Rule, cluster: Cluster, granting: Grants) -> Iterator[Grant]:
    pods, others = list[PeerPod](), list[tuple[int, int]]()
    if rule.peers is None:
        others.extend(spans.EVERY)
    for peer in rule.peers or ():
        if peer.addresses is None:
            pods.extend(cluster.selected(own, peer))
        else:
            others.extend(peer.addresses)
    everyone = spans.united((*others, *cluster.spans_of(pods)))
    if rule.ports is None:
        yield Grant(everyone)
    for port in rule.ports or ():
        if port.name:
            yield from granting(cluster, pods, everyone, port)
        else:
            yield Grant(everyone, port.protocol, port.first, port.last)


def _arriving(_: Cluster, __: Sequence[PeerPod], ___: Spans, ____: Port) -> Iterable[Grant]:
    """A port that the machine's own Pod names: it names none."""
    return ()


def _leaving(cluster: Cluster, pods: Sequence[PeerPod], _: Spans, port: Port) -> Iterator[Grant]:
    """A port that the Pods spoken to name: each may mean another number."""
    by_number: dict[int, list[PeerPod]] = {}
    for pod in pods:
        for protocol, number in pod.ports.get(port.name, ()):
            if protocol is port.protocol:
                by_number.setdefault(number, []).append(pod)
    for number, some in by_number.items():
        yield Grant(cluster.spans_of(some), port.protocol, number, number)


def _leads(direction: Direction | None, services: Sequence[ServicePort]) -> Direction | None:
    """With what is to be said of Services, where that is not what their own addresses say."""
    if direction is None:
        return None
    targets: dict[Target, bool] = {}
    for one in services:
        lets = partial(direction.lets, protocol=one.protocol)
        allowed = bool(one.endpoints) and all(lets(address, port=port) for address, port in one.endpoints)
        for address in one.addresses:
            if lets(address, port=one.port) != allowed:
                targets[address, one.protocol, one.port] = allowed
    return replace(direction, targets=targets)
