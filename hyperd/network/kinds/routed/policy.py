"""What comes to a machine in its Pod and leaves it, by nft: a table of its own, replaced in one transaction.

The machine is reached by its own address and by its Pod's, which is translated before: one chain sees both. What
was let through once goes on, whatever is said by now. The host that a Pod is on always reaches it, as kubelet and
hyperd have to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from hyperd.network import nft, spans
from hyperd.network.filters import OPEN, Direction, Filter, Target
from hyperd.network.spans import EVERY, Spans


def script(instance: str, tap: str, allowed: Filter, host: Collection[IPv4Address] = ()) -> str:
    """For nft, whatever there was. ``host`` are the addresses of the host."""
    table = f"ip {nft.table_name(instance)}_policy"
    begin = f"add table {table}\ndelete table {table}\n"
    if allowed == OPEN:
        return begin
    sides = _Side("arriving", "ip saddr"), _Side("leaving", "ip daddr")
    known = f"ip saddr {{ {', '.join(map(str, sorted(host)))} }} accept" if host else ""
    lines = [*sides[0].chain(allowed.arriving, known), *sides[1].chain(allowed.leaving)]
    forward = _chain(
        "forward",
        (
            "type filter hook forward priority filter; policy accept;",
            "ct state established,related accept",
            # A guest that asks for itself by its Pod's address, or a Service's.
            f'iifname "{tap}" oifname "{tap}" accept',
            f'oifname "{tap}" goto arriving',
            f'iifname "{tap}" goto leaving',
        ),
    )
    return "\n".join((f"{begin}table {table} {{", *lines, *forward, "}", ""))


class _Side:
    """Chains, sets and maps of one direction; each set of addresses is written once."""

    def __init__(self, name: str, key: str) -> None:
        self._name = name
        self._key = key
        self._sets: dict[Spans, str] = {}

    def chain(self, allowed: Direction | None, before: str = "") -> Iterator[str]:
        if allowed is None:
            yield from _chain(self._name, ("accept",))
            return
        rules = [before] if before else []
        if allowed.targets:
            yield self._map(
                "targets", "ipv4_addr . inet_proto . inet_service : verdict", _verdicts(allowed.targets)
            )
            protocols = ", ".join(sorted({protocol for _, protocol, _ in allowed.targets}))
            where = f"{self._key} . meta l4proto . th dport vmap @{self._name}_targets"
            rules.append(f"meta l4proto {{ {protocols} }} {where}")
        if allowed.peers:
            rules.append(f"jump {self._peers(allowed.peers)}")
        for protocol, ports in sorted(allowed.ports.items()):
            elements = (f"{_range(one.first, one.last)} : jump {self._peers(one.peers)}" for one in ports)
            yield self._map(protocol, "inet_service : verdict; flags interval", elements)
            rules.append(f"{protocol} dport vmap @{self._name}_{protocol}")
        for peers, name in self._sets.items():
            yield from self._chain_of(peers, name)
        yield from _chain(self._name, (*rules, "drop"))

    def _peers(self, peers: Spans) -> str:
        """The chain that lets them through."""
        return self._sets.setdefault(peers, f"{self._name}_{len(self._sets)}")

    def _chain_of(self, peers: Spans, name: str) -> Iterator[str]:
        if peers == EVERY:
            yield from _chain(name, ("accept",))
            return
        elements = ", ".join(map(spans.text, peers))
        yield f"set {name}_set {{ type ipv4_addr; flags interval; elements = {{ {elements} }}; }}"
        yield from _chain(name, (f"{self._key} @{name}_set accept",))

    def _map(self, name: str, kind: str, elements: Iterable[str]) -> str:
        return f"map {self._name}_{name} {{ type {kind}; elements = {{ {', '.join(elements)} }}; }}"


def _verdicts(targets: Mapping[Target, bool]) -> Iterator[str]:
    for (address, protocol, port), lets in sorted(targets.items()):
        yield f"{IPv4Address(address)} . {protocol} . {port} : {'accept' if lets else 'drop'}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _chain(name: str, rules: Sequence[str]) -> Iterator[str]:
    yield f"chain {name} {{"
    yield from rules
    yield "}"
