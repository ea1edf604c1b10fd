"""What NetworkPolicies let through, by the words of their API, and against an evaluator that asks each rule."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd.controllers.policy import peers
from hyperd.controllers.policy.compiling import Cluster, make_filter
from hyperd.controllers.policy.peers import PeerPod, ServicePort
from hyperd.controllers.policy.rules import read
from hyperd.network import filters
from hyperd.network.filters import OPEN, SHUT, Direction, Filter, Protocol
from tests.parts import Part

OWN = "shop"
WEB, DB, FAR, BARE = "10.244.1.2", "10.244.1.3", "10.244.2.4", "10.244.2.5"
NAMESPACES = {"shop": {"tier": "front"}, "bank": {"tier": "back"}, "void": {}}
DB_MACHINE = "10.66.10.3"


def pod(namespace: str, address: str, machine: str = "", **labels: str) -> PeerPod:
    ports = {"web": ((Protocol.TCP, 8080),)} if labels.get("app") == "web" else {}
    return PeerPod(namespace, labels, (int(ip_address(address)),), ports, machine)


PODS = {
    "shop": [pod("shop", WEB, app="web"), pod("shop", DB, "u", app="db")],
    "bank": [pod("bank", FAR, app="web", zone="x")],
    "void": [pod("void", BARE)],
}


def cluster(*services: ServicePort) -> Cluster:
    return Cluster(NAMESPACES, PODS, {"u": int(ip_address(DB_MACHINE))}, services)


def policy(**spec: Any) -> Part:
    return {"metadata": {"namespace": OWN, "name": "p"}, "spec": {"podSelector": {}, **spec}}


def made(*policies: Part, services: tuple[ServicePort, ...] = ()) -> Filter:
    return make_filter([read(one) for one in policies], cluster(*services))


def lets(
    direction: Direction | None, address: str, port: int = 80, protocol: Protocol | None = Protocol.TCP
) -> bool:
    if direction is None:
        return True
    number = int(ip_address(address))
    if protocol is not None and (number, protocol, port) in direction.targets:
        return direction.targets[number, protocol, port]
    return direction.lets(number, protocol, port)


def who(direction: Direction | None, port: int = 80) -> set[str]:
    return {address for address in (WEB, DB, DB_MACHINE, FAR, BARE, "1.1.1.1") if lets(direction, address, port)}


ALL = {WEB, DB, DB_MACHINE, FAR, BARE, "1.1.1.1"}


def test_a_direction_that_no_policy_is_about_is_open() -> None:
    assert made(policy(policyTypes=["Ingress"])) == Filter(SHUT, None)
    assert made(policy(policyTypes=["Egress"])) == Filter(None, SHUT)
    assert made(policy()) == Filter(SHUT, None)
    assert made(policy(egress=[])) == Filter(SHUT, None)
    assert made(policy(egress=[{}])) == Filter(SHUT, None)  # everything out
    assert made(policy(policyTypes=["Ingress", "Egress"])) == Filter(SHUT, SHUT)
    assert made(policy(ingress=[{}])) == OPEN
    assert made(policy(ingress=[{"from": [], "ports": []}])) == OPEN


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ({"podSelector": {}}, {WEB, DB, DB_MACHINE}),
        ({"podSelector": {"matchLabels": {"app": "web"}}}, {WEB}),
        ({"podSelector": {"matchLabels": {"app": "db"}}}, {DB, DB_MACHINE}),
        ({"podSelector": {"matchLabels": {"app": "none"}}}, set()),
        ({"namespaceSelector": {}}, ALL - {"1.1.1.1"}),
        ({"namespaceSelector": {"matchLabels": {"tier": "back"}}}, {FAR}),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}, {WEB, FAR}),
        ({"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
            {WEB, DB, DB_MACHINE, FAR}),
        ({"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}}, {BARE}),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}}, {WEB}),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}},
            {WEB, DB, DB_MACHINE}),
        ({"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.2.0/24"]}}, {WEB, DB}),
        ({"ipBlock": {"cidr": "10.66.10.3/32"}}, {DB_MACHINE}),
        ({"ipBlock": {"cidr": "::/0"}}, set()),
        ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, {"1.1.1.1"}),
    ],
)  # fmt: skip
def test_peers(peer: Part, expected: set[str]) -> None:
    assert who(made(policy(ingress=[{"from": [peer]}])).arriving) == expected
    assert who(made(policy(policyTypes=["Egress"], egress=[{"to": [peer]}])).leaving) == expected


def test_ports() -> None:
    ports = [{"port": 80}, {"port": 90, "endPort": 92}, {"protocol": "UDP"}, {"protocol": "SCTP", "port": 5}]
    found = made(policy(ingress=[{"ports": ports}])).arriving
    for port, protocol, expected in (
        (80, Protocol.TCP, True), (81, Protocol.TCP, False), (89, Protocol.TCP, False), (90, Protocol.TCP, True),
        (92, Protocol.TCP, True), (93, Protocol.TCP, False), (1, Protocol.UDP, True), (65535, Protocol.UDP, True),
        (5, Protocol.SCTP, True), (6, Protocol.SCTP, False), (0, None, False),
    ):  # fmt: skip
        assert lets(found, WEB, port, protocol) is expected, (port, protocol)
    assert lets(made(policy(ingress=[{"from": [{"podSelector": {}}]}])).arriving, WEB, 0, None)


def test_a_port_by_name_is_what_each_pod_calls_so() -> None:
    named = [{"port": "web"}]
    everywhere: list[Part] = [{"namespaceSelector": {}}]
    found = made(policy(policyTypes=["Egress"], egress=[{"to": everywhere, "ports": named}])).leaving
    assert who(found, 8080) == {WEB, FAR}
    assert who(found, 80) == set()
    # The machine's own Pod names none.
    assert made(policy(ingress=[{"ports": named}])).arriving == SHUT


def test_policies_add_up() -> None:
    first = policy(ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]}])
    second = policy(ingress=[{"from": [{"ipBlock": {"cidr": "1.1.1.1/32"}}]}])
    found = made(first, second, policy()).arriving
    assert who(found) == {WEB, "1.1.1.1"}
    assert who(found, 81) == {"1.1.1.1"}


def test_one_that_cannot_be_read_shuts() -> None:
    for odd in (
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Greater"}]}},
        {"ingress": [{"from": [{"somebody": "new"}]}]},
        {"ingress": [{"ports": [{"protocol": "QUIC"}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]},
        {"policyTypes": ["Ingress", "Sideways"]},
        {"ingress": "all"},
    ):
        assert made(policy(**odd), policy(ingress=[{}], egress=[])).leaving == SHUT
        assert read(policy(**odd)).selector.selects({"any": "machine"})


def test_who_a_service_leads_to_is_judged_and_not_the_service() -> None:
    service = int(ip_address("10.97.0.9"))

    def leading(*to: tuple[str, int]) -> ServicePort:
        return ServicePort((service,), Protocol.TCP, 443, tuple((int(ip_address(one)), port) for one, port in to))

    web = {"podSelector": {"matchLabels": {"app": "web"}}}
    allow = policy(policyTypes=["Egress"], egress=[{"to": [web], "ports": [{"port": 8080}]}])
    for endpoints, expected in (
        ([(WEB, 8080)], True),
        ([(WEB, 8081)], False),
        ([(WEB, 8080), (FAR, 8080)], False),
        ([], False),
    ):
        found = made(allow, services=(leading(*endpoints),)).leaving
        assert lets(found, "10.97.0.9", 443) is expected
        assert not lets(found, "10.97.0.9", 8080)
    # Addresses that leave Pods out are not left out of by a Service.
    block = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]}}
    found = made(
        policy(policyTypes=["Egress"], egress=[{"to": [block]}]), services=(leading((WEB, 8080)),)
    ).leaving
    assert not lets(found, "10.97.0.9", 443)
    assert lets(found, "10.97.0.9", 444)


def test_too_many_rules_let_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MOST", 1000)
    monkeypatch.setattr(filters, "_MOST_WORK", 5000)
    blocks = [{"ipBlock": {"cidr": f"10.0.{number}.0/32"}} for number in range(256)]
    for ports in ([1, 3], [1, 3, 5, 7]):
        found = made(policy(ingress=[{"from": blocks, "ports": [{"port": port}]} for port in ports]))
        assert (found == Filter(SHUT, None)) is (len(ports) == 4)
    overlapping = [{"from": [block], "ports": [{"port": 1, "endPort": 9 + at}]} for at, block in enumerate(blocks)]
    assert made(policy(ingress=overlapping)) == Filter(SHUT, None)
    selecting = [{"from": [{"podSelector": {"matchLabels": {"a": str(number)}}}]} for number in range(600)]
    assert made(policy(ingress=selecting, policyTypes=["Ingress", "Egress"])) == Filter(SHUT, SHUT)


def test_pods_that_no_selector_means() -> None:
    running = {
        "metadata": {"namespace": "shop", "name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 80}, {"containerPort": 81}]}]},
        "status": {"phase": "Running", "podIP": WEB, "podIPs": [{"ip": WEB}, {"ip": "fd00::2"}]},
    }
    found = peers.pod(peers.trimmed_pod(running))
    assert found == PeerPod("shop", {"app": "web"}, (int(ip_address(WEB)),), {"web": ((Protocol.TCP, 80),)}, "")
    assert peers.pod(running) == found
    assert peers.pod(running | {"status": {"phase": "Succeeded", "podIP": WEB}}) is None
    assert peers.pod(running | {"status": {"phase": "Pending"}}) is None
    assert peers.pod(running | {"spec": {"hostNetwork": True}}) is None


# An evaluator that asks each rule for each packet.


def _selects(selector: Part, labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _is_peer(peer: Part, address: str) -> bool:
    if block := peer.get("ipBlock"):
        inside = ip_address(address) in ip_network(block["cidr"])
        return inside and not any(ip_address(address) in ip_network(one) for one in block.get("except", ()))
    for namespace, pods in PODS.items():
        for one in pods:
            own = {int(ip_address(DB_MACHINE))} if one.machine else set()
            if int(ip_address(address)) not in {*one.addresses, *own}:
                continue
            if "namespaceSelector" in peer:
                there = _selects(peer["namespaceSelector"], NAMESPACES[namespace])
            else:
                there = namespace == OWN
            if there and _selects(peer.get("podSelector", {}), one.labels):
                return True
    return False


def _passes(policies: list[Part], address: str, port: int, protocol: Protocol) -> bool:
    for one in policies:
        for rule in one["spec"]["ingress"]:
            peer = not rule.get("from") or any(_is_peer(each, address) for each in rule["from"])
            ports = rule.get("ports")
            if peer and (not ports or any(_is_port(each, port, protocol) for each in ports)):
                return True
    return False


def _is_port(port: Part, number: int, protocol: Protocol) -> bool:
    if port.get("protocol", "TCP").lower() != protocol:
        return False
    return "port" not in port or port["port"] <= number <= port.get("endPort", port["port"])


_SELECTORS = st.sampled_from(
    [{}, {"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "db"}}, {"matchLabels": {"tier": "back"}}]
)
_BLOCKS = st.sampled_from(
    [
        {"cidr": "10.244.0.0/16"}, {"cidr": "10.244.1.2/31", "except": ["10.244.1.3/32"]}, {"cidr": "0.0.0.0/0"},
        {"cidr": "10.0.0.0/8", "except": ["10.244.2.0/24", "10.66.0.0/16"]}, {"cidr": "1.1.1.0/24"},
    ]
)  # fmt: skip
_PEERS = st.one_of(
    st.fixed_dictionaries({"podSelector": _SELECTORS}),
    st.fixed_dictionaries({"namespaceSelector": _SELECTORS}),
    st.fixed_dictionaries({"namespaceSelector": _SELECTORS, "podSelector": _SELECTORS}),
    st.fixed_dictionaries({"ipBlock": _BLOCKS}),
)
_PORTS = st.one_of(
    st.fixed_dictionaries({"protocol": st.sampled_from(["TCP", "UDP"])}),
    st.builds(
        lambda first, more, protocol: {"port": first, "endPort": first + more, "protocol": protocol},
        st.integers(1, 12), st.integers(0, 6), st.sampled_from(["TCP", "UDP"]),
    ),
)  # fmt: skip
_RULES = st.fixed_dictionaries(
    {}, optional={"from": st.lists(_PEERS, max_size=3), "ports": st.lists(_PORTS, max_size=3)}
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(_RULES, max_size=3), min_size=1, max_size=3))
def test_it_is_what_each_rule_for_itself_says(rules: list[list[Part]]) -> None:
    policies = [policy(ingress=some) for some in rules]
    found = made(*policies).arriving
    for address in ALL:
        for port in (1, 5, 12, 13, 19, 65535):
            for protocol in (Protocol.TCP, Protocol.UDP, Protocol.SCTP):
                expected = _passes(policies, address, port, protocol)
                assert lets(found, address, port, protocol) is expected, (address, port, protocol)
