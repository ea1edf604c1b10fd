"""NetworkPolicies as they come and go: which machines of this node are told what, and what is followed."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.policy import troubles
from hyperd.controllers.policy.keeper import Policies
from hyperd.errors import TemporaryError
from hyperd.network.filters import OPEN, SHUT, Filter, Protocol
from hyperd.resources.all import (
    ENDPOINT_SLICE,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    SERVICE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_IP_ADDRESS_LEASE,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import names
from hyperd.resources.values.meta import Key
from hyperd.runtime.informer import Informer
from hyperd.store.interface import EventType, Item, Listing, WatchEvent
from tests.parts import Part, part


def pod(
    name: str, address: str, *, node: str = "there", machine: str = "", namespace: str = "shop", **labels: str
) -> Part:
    own = {names.VM_UID_LABEL: machine} if machine else {}
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": f"pod-{name}", "labels": {**labels, **own}},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "podIP": address},
    }


def policy(name: str = "p", namespace: str = "shop", **spec: Part) -> Part:
    return {"metadata": {"namespace": namespace, "name": name, "uid": name}, "spec": {"podSelector": {}, **spec}}


def from_pods(**labels: str) -> Part:
    return {"ingress": [{"from": [{"podSelector": {"matchLabels": labels}}]}]}


class Objects:
    """A store of objects that others make, as far as an informer asks it."""

    def __init__(self) -> None:
        self.watching: list[tuple[str, str | None]] = []
        self._objects: dict[str, dict[tuple[str, str], Part]] = defaultdict(dict)
        self._heard: dict[str, list[tuple[str | None, asyncio.Queue[WatchEvent]]]] = defaultdict(list)
        self._version = 1

    def put(self, kind: Kind, obj: Part, *, gone: bool = False) -> None:
        self._version += 1
        meta = obj["metadata"] | {"resourceVersion": str(self._version)}
        obj, key = obj | {"metadata": meta}, (meta.get("namespace", ""), meta["name"])
        known = self._objects[kind.plural]
        type_ = EventType.MODIFIED if key in known else EventType.ADDED
        if gone:
            del known[key]
        else:
            known[key] = obj
        for namespace, queue in self._heard[kind.plural]:
            if namespace in (None, key[0]):
                queue.put_nowait(WatchEvent(EventType.DELETED if gone else type_, Item.of(obj)))

    async def list(
        self, kind: Kind, namespace: str | None, *, limit: int = 0, continue_token: str = "", **_: object
    ) -> Listing:
        found = [
            one for (place, _), one in sorted(self._objects[kind.plural].items()) if namespace in (None, place)
        ]
        begin = int(continue_token or 0)
        end = begin + 1 if limit else len(found)
        more = str(end) if len(found) > end else ""
        return Listing([Item.of(one) for one in found[begin:end]], str(self._version), more)

    @asynccontextmanager
    async def watch(
        self, kind: Kind, namespace: str | None, **_: object
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()
        entry, told = (namespace, queue), (kind.plural, namespace)
        self._heard[kind.plural].append(entry)
        self.watching.append(told)

        async def events() -> AsyncIterator[WatchEvent]:
            while True:
                yield await queue.get()

        try:
            yield events()
        finally:
            self._heard[kind.plural].remove(entry)
            self.watching.remove(told)


class Cluster:
    """As it is shown to the node ``here``; machines' Pods are followed by all, others as they are asked for."""

    def __init__(self) -> None:
        kinds: tuple[Kind, ...] = (POD, VIRTUAL_MACHINE, VIRTUAL_MACHINE_IP_ADDRESS_LEASE)
        self.informers: dict[Kind, Informer] = {kind: Informer(part(None), kind) for kind in kinds}
        self.store = Objects()
        self.told: asyncio.Queue[tuple[str, Filter | None]] = asyncio.Queue()
        self.refuses = 0
        self.met: set[str] = set()
        self._versions = itertools.count(1)
        for namespace in ("shop", "bank"):
            self.put(NAMESPACE, {"metadata": {"name": namespace, "labels": {"name": namespace}}})

    async def meet(self, pods: Collection[IPv4Address]) -> None:
        self.met = {str(one) for one in pods}

    async def guard(self, uid: str, allowed: Filter | None) -> None:
        if self.refuses:
            self.refuses -= 1
            raise TemporaryError("The Pod is not there yet.")
        self.told.put_nowait((uid, allowed))

    def put(self, kind: Kind, *objects: Part) -> None:
        for obj in objects:
            if kind not in self.informers:
                self.store.put(kind, obj)
                continue
            meta = obj["metadata"] | {"resourceVersion": str(next(self._versions))}
            self.informers[kind]._put((meta.get("namespace", ""), meta["name"]), Item.of(obj | {"metadata": meta}))

    @property
    def followed(self) -> list[tuple[str, str | None]]:
        """Beside what always is."""
        always = [(kind.plural, None) for kind in (NETWORK_POLICY, NAMESPACE)]
        return [one for one in self.store.watching if one not in always]

    def remove(self, kind: Kind, name: str) -> None:
        if kind not in self.informers:
            self.store.put(kind, policy(name), gone=True)
            return
        self.informers[kind]._remove(("shop", name))

    def run(self, *pods: Part) -> None:
        """Machines' Pods, which are Pods as any."""
        self.put(POD, *pods)
        for one in pods:
            self.store.put(POD, one)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        given = SimpleNamespace(
            informer=self.informers.__getitem__, node_name="here", network=self, store=self.store
        )
        self.policies = Policies(cast(Context, given))
        running = asyncio.create_task(self.policies.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert self.store.watching == []

    async def next(self) -> tuple[str, Filter | None]:
        async with asyncio.timeout(10):
            return await self.told.get()


def reached(allowed: Filter | None, *addresses: str) -> list[str]:
    assert allowed is not None
    assert allowed.arriving is not None
    return [one for one in addresses if allowed.arriving.lets(int(IPv4Address(one)), Protocol.TCP, 80)]


async def test_what_the_network_refuses_is_said_of_the_machine_until_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(troubles, "_LASTING_SECONDS", 0.0)
    cluster, woken = Cluster(), asyncio.Queue[Key]()
    cluster.refuses = 4
    named = {names.VM_POD_NAME_LABEL: "shop-window"}
    cluster.run(pod("v", "10.244.1.2", node="here", machine="web", **named))
    async with cluster.following():
        cluster.policies.troubles.changed = woken.put_nowait
        async with asyncio.timeout(10):
            while not cluster.policies.troubles.of("web").endswith("do not hold: The Pod is not there yet."):
                assert await woken.get() == Key("shop", "shop-window")
            while cluster.policies.troubles.of("web"):
                await woken.get()
        assert await cluster.next() == ("web", OPEN)


async def test_a_machine_is_open_until_a_policy_selects_it_and_forgotten_with_its_pod() -> None:
    cluster = Cluster()
    cluster.run(pod("v", "10.244.1.2", node="here", machine="web"), pod("w", "10.244.2.2", machine="far"))
    async with cluster.following():
        assert await cluster.next() == ("web", OPEN)
        assert cluster.met == {"10.244.1.2", "10.244.2.2"}
        cluster.put(
            NETWORK_POLICY, policy(namespace="bank"), policy("other", podSelector={"matchLabels": {"a": "b"}})
        )
        cluster.put(NETWORK_POLICY, policy())
        assert await cluster.next() == ("web", Filter(SHUT, None))
        assert cluster.followed == []
        cluster.remove(NETWORK_POLICY, "p")
        assert await cluster.next() == ("web", OPEN)
        cluster.run(pod("v", "10.244.1.2", node="here", machine="web", a="b"))
        assert await cluster.next() == ("web", Filter(SHUT, None))
        cluster.remove(POD, "v")
        assert await cluster.next() == ("web", None)
        assert cluster.told.empty()


async def test_all_pods_of_machines_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster may have thousands of them, and there is a look for each change."""
    cluster = Cluster()
    cluster.run(pod("v", "10.244.1.2", node="here", machine="web"))
    async with cluster.following():
        assert await cluster.next() == ("web", OPEN)
        monkeypatch.setattr(cluster.informers[POD], "items", None)
        for _ in range(2):
            cluster.put(NETWORK_POLICY, policy())
            assert await cluster.next() == ("web", Filter(SHUT, None))
            cluster.remove(NETWORK_POLICY, "p")
            assert await cluster.next() == ("web", OPEN)


async def test_peers_are_followed_as_long_as_they_are_spoken_of() -> None:
    cluster = Cluster()
    cluster.run(pod("v", "10.244.1.2", node="here", machine="web"))
    cluster.store.put(POD, pod("a", "10.244.2.3", role="friend"))
    cluster.store.put(POD, pod("b", "10.244.2.4", namespace="bank", role="friend"))
    cluster.put(NETWORK_POLICY, policy(**from_pods(role="friend")))
    everybody = ("10.244.2.3", "10.244.2.4", "10.244.2.5", "10.66.10.9")
    async with cluster.following():
        _, allowed = await cluster.next()
        assert reached(allowed, *everybody) == ["10.244.2.3"]
        assert cluster.followed == [("pods", "shop")]
        cluster.store.put(POD, pod("c", "10.244.2.5", role="friend"))
        assert reached((await cluster.next())[1], *everybody) == ["10.244.2.3", "10.244.2.5"]
        cluster.store.put(POD, pod("c", "10.244.2.5", role="friend"), gone=True)
        assert reached((await cluster.next())[1], *everybody) == ["10.244.2.3"]
        cluster.put(
            NETWORK_POLICY, policy(ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"name": "bank"}}}]}])
        )
        assert reached((await cluster.next())[1], *everybody) == ["10.244.2.4"]
        assert cluster.followed == [("pods", "bank")]
        cluster.remove(NETWORK_POLICY, "p")
        assert await cluster.next() == ("web", OPEN)
        assert cluster.followed == []


async def test_a_machine_that_is_a_peer_has_two_addresses_if_the_lease_says_so() -> None:
    cluster = Cluster()
    cluster.run(pod("v", "10.244.1.2", node="here", machine="web"))
    cluster.run(pod("w", "10.244.2.2", machine="asker", role="friend"))
    asker = {
        "metadata": {"namespace": "shop", "name": "asker", "uid": "asker"},
        "status": {"ipAddress": "10.66.10.9"},
    }
    cluster.put(VIRTUAL_MACHINE, asker)
    cluster.put(NETWORK_POLICY, policy(**from_pods(role="friend")))

    def lease(namespace: str) -> Part:
        reference = {"namespace": namespace, "name": "any"}
        return {"metadata": {"name": "ip-10-66-10-9"}, "spec": {"virtualMachineIPAddressRef": reference}}

    async with cluster.following():
        assert reached((await cluster.next())[1], "10.244.2.2", "10.66.10.9") == ["10.244.2.2"]
        cluster.put(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, lease("shop"))
        assert reached((await cluster.next())[1], "10.244.2.2", "10.66.10.9") == ["10.244.2.2", "10.66.10.9"]
        cluster.put(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, lease("bank"))
        assert reached((await cluster.next())[1], "10.244.2.2", "10.66.10.9") == ["10.244.2.2"]


async def test_services_are_followed_where_a_policy_is_about_what_leaves() -> None:
    cluster = Cluster()
    cluster.run(pod("v", "10.244.1.2", node="here", machine="web"))
    cluster.store.put(POD, pod("a", "10.244.2.3", role="friend"))
    service = {"clusterIP": "10.97.0.9", "clusterIPs": ["10.97.0.9"], "ports": [{"port": 80, "protocol": "TCP"}]}
    cluster.store.put(SERVICE, {"metadata": {"namespace": "shop", "name": "s"}, "spec": service})
    cluster.store.put(
        ENDPOINT_SLICE,
        {
            "metadata": {"namespace": "shop", "name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.244.2.3"]}],
        },
    )
    to = [{"podSelector": {"matchLabels": {"role": "friend"}}}]
    cluster.put(NETWORK_POLICY, policy(policyTypes=["Egress"], egress=[{"to": to}]))
    async with cluster.following():
        _, allowed = await cluster.next()
        assert allowed is not None
        assert allowed.leaving is not None
        assert allowed.leaving.targets == {(int(IPv4Address("10.97.0.9")), Protocol.TCP, 80): True}
        assert sorted(cluster.followed, key=str) == [
            ("endpointslices", None), ("pods", "shop"), ("services", None)
        ]  # fmt: skip


async def test_what_says_nothing_new_is_not_told_and_what_failed_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hyperd.controllers.policy.keeper._AGAIN_SECONDS", 0.05)
    cluster = Cluster()
    cluster.refuses = 2
    cluster.run(pod("v", "10.244.1.2", node="here", machine="web"))
    async with cluster.following():
        assert await cluster.next() == ("web", OPEN)
        cluster.run(pod("v", "10.244.1.2", node="here", machine="web", a="b"))
        cluster.run(pod("w", "10.244.1.3", node="here", machine="db"))
        assert await cluster.next() == ("db", OPEN)
        assert cluster.told.empty()
