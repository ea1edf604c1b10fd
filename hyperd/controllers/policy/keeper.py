"""NetworkPolicies as this node's machines have them: each link lets through what they say, and is shut until then.

Each node sees to the machines whose Pods are on it, whoever leads; of a guest that moves both nodes do. All
machines that the same policies select are given the same, which is worked out once. What takes long to work out
is not worked out more often than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from typing import Final, TypeVar

from hyperd.controllers.context import Context
from hyperd.controllers.pod import reading
from hyperd.controllers.policy import peers
from hyperd.controllers.policy.compiling import Cluster, make_filter, namespaces_of, peers_of
from hyperd.controllers.policy.feed import Feed
from hyperd.controllers.policy.peers import PeerPod
from hyperd.controllers.policy.rules import Policy, read
from hyperd.errors import HyperdError, TemporaryError
from hyperd.network.filters import OPEN, Filter
from hyperd.resources.all import (
    ENDPOINT_SLICE,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    SERVICE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_IP_ADDRESS_LEASE,
)
from hyperd.resources.kinds.virtual_machine_ip_address_lease import lease_name
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values import meta, names
from hyperd.resources.values.meta import Key
from hyperd.runtime.informer import Informer
from hyperd.slices import sliced
from hyperd.store.interface import EventType, Item

T = TypeVar("T")
K = TypeVar("K")
_log = logging.getLogger(__name__)
_GATHERING_SECONDS: Final = 0.05
"""After a change, until the next ones are looked at."""
_SHARE: Final = 4
"""So many times as long as it took."""
_AGAIN_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 5.0
"""Between looks at whether it holds."""

Here = tuple[str, str, dict[str, str]]
"""A machine whose Pod is on this node: its uid, its namespace, its Pod's labels."""


@dataclass(frozen=True)
class _Group:
    """Machines that the same policies select."""

    policies: Sequence[Policy]
    machines: list[str]


class Policies:
    """``run`` is to go on as long as the daemon does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._informers: dict[Kind, Informer] = {
            POD: context.informer(POD),
            NETWORK_POLICY: context.informer(NETWORK_POLICY),
            NAMESPACE: context.informer(NAMESPACE),
            VIRTUAL_MACHINE: context.informer(VIRTUAL_MACHINE),
            VIRTUAL_MACHINE_IP_ADDRESS_LEASE: context.informer(VIRTUAL_MACHINE_IP_ADDRESS_LEASE),
        }
        self._changed: set[tuple[Kind, Key]] = set()
        """What is to be looked at."""
        self._here: dict[Key, Here] = {}
        self._policies: dict[Key, Policy] = {}
        self._namespaces: dict[Key, dict[str, str]] = {}
        self._machines: dict[Key, tuple[str, int]] = {}
        """Machines that have an address: their uids and that."""
        self._owners: dict[Key, str] = {}
        """Leases, and whose they are: namespaces."""
        self._told: dict[str, Filter] = {}
        """What the network has, by the machine's uid."""
        self._wake = asyncio.Event()
        self._heard = False
        """Others' objects have changed."""
        self._pods = Feed(context.store, POD, peers.trimmed_pod, peers.pod, self._on_feed)
        self._services = Feed[Object](context.store, SERVICE, peers.trimmed_service, _itself, self._on_feed)
        self._slices = Feed[Object](context.store, ENDPOINT_SLICE, peers.trimmed_slice, _itself, self._on_feed)
        for kind, informer in self._informers.items():
            informer.add_handler(partial(self._on_change, kind))

    async def run(self) -> None:
        """Have the network follow."""
        self._told.clear()
        for kind, informer in self._informers.items():
            self._changed.update((kind, Key(item.namespace, item.name)) for item in informer.items())
        loop, again = asyncio.get_running_loop(), True
        mended = loop.time()
        try:
            while True:
                self._wake.clear()
                changed, self._changed = list(self._changed), set()
                began = loop.time()
                anew = any(await sliced(changed, self._look_at, self._size))
                if anew or again or self._heard:
                    self._heard = False
                    again = not await self._keep()
                if began - mended >= _LOOK_SECONDS:
                    again, mended = not await self._mend() or again, began
                await asyncio.sleep(max(_GATHERING_SECONDS, _SHARE * (loop.time() - began)))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_SECONDS if again else _LOOK_SECONDS):
                        await self._wake.wait()
        finally:
            for feed in (self._pods, self._services, self._slices):
                await feed.close()

    async def _keep(self) -> bool:
        """Whether the network has it all."""
        groups = await asyncio.to_thread(_grouped, list(self._here.values()), list(self._policies.items()))
        there = {uid for group in groups for uid in group.machines}
        for uid in self._told.keys() - there:
            del self._told[uid]
            await self._context.network.guard(uid, None)
        if not await self._follow([policy for group in groups for policy in group.policies]):
            return True  # it wakes us
        cluster = await asyncio.to_thread(
            _cluster,
            {key.name: labels for key, labels in self._namespaces.items()},
            self._pods.items(),
            {uid: address for key, (uid, address) in self._machines.items() if self._is_its(key, address)},
            self._services.items(),
            self._slices.items(),
        )
        kept = True
        # What is soon worked out does not wait for what is not.
        for group in sorted(groups, key=lambda one: len(one.policies)):
            allowed = await asyncio.to_thread(make_filter, group.policies, cluster) if group.policies else OPEN
            for uid in group.machines:
                kept = await self._tell(uid, allowed) and kept
        return kept

    async def _mend(self) -> bool:
        """Whether what was told holds; somebody may have flushed it."""
        return all([await self._tell(uid, allowed, anew=True) for uid, allowed in list(self._told.items())])

    async def _tell(self, uid: str, allowed: Filter, *, anew: bool = False) -> bool:
        if not anew and self._told.get(uid) == allowed:
            return True
        try:
            await self._context.network.guard(uid, allowed)
        except HyperdError as error:
            level = logging.DEBUG if isinstance(error, TemporaryError) else logging.WARNING
            _log.log(level, "The NetworkPolicies of machine %s do not hold yet: %s", uid, error.message)
            self._told.pop(uid, None)
            return False
        self._told[uid] = allowed
        return True

    async def _follow(self, policies: list[Policy]) -> bool:
        """Have what these policies speak of known; whether it is."""
        labels = {key.name: labels for key, labels in self._namespaces.items()}
        wanted: set[str] = set()
        for own, peer in peers_of(policies):
            of = peer.namespaces
            wanted.update((own,) if of is None else namespaces_of(of, labels))
        everywhere = None if any(policy.leaving is not None for policy in policies) else frozenset[str]()
        return all(
            [
                await self._pods.follow(frozenset(wanted)),
                await self._services.follow(everywhere),
                await self._slices.follow(everywhere),
            ]
        )

    def _is_its(self, machine: Key, address: int) -> bool:
        """A machine's status may be forged; whose an address is the lease alone says."""
        return self._owners.get(Key("", lease_name(IPv4Address(address)))) == machine.namespace

    def _on_feed(self) -> None:
        self._heard = True
        self._wake.set()

    def _on_change(self, kind: Kind, _: EventType, old: Item | None, new: Item | None) -> None:
        if (item := new or old) is not None:
            self._changed.add((kind, Key(item.namespace, item.name)))
            self._wake.set()

    def _look_at(self, what: tuple[Kind, Key]) -> bool:
        """Whether it says something new."""
        kind, key = what
        obj = self._informers[kind].get(*key)
        if kind is POD:
            return _put(self._here, key, None if obj is None else self._here_by(obj))
        if kind is NETWORK_POLICY:
            return _put(self._policies, key, None if obj is None else read(obj))
        if kind is NAMESPACE:
            return _put(self._namespaces, key, None if obj is None else meta.labels(obj))
        if kind is VIRTUAL_MACHINE:
            return _put(self._machines, key, None if obj is None else _addressed(obj))
        reference = None if obj is None else obj["spec"].get("virtualMachineIPAddressRef")
        return _put(self._owners, key, None if reference is None else reference["namespace"])

    def _here_by(self, pod: Object) -> Here | None:
        uid = meta.labels(pod).get(names.VM_UID_LABEL, "")
        here = uid and reading.node_of(pod) == self._context.node_name
        return (uid, pod["metadata"]["namespace"], meta.labels(pod)) if here else None

    def _size(self, what: tuple[Kind, Key]) -> int:
        kind, key = what
        item = self._informers[kind].item(*key)
        return 0 if item is None else len(item.raw)


def _put(known: dict[K, T], key: K, found: T | None) -> bool:
    """Whether it is another than before."""
    before = known.pop(key, None)
    if found is not None:
        known[key] = found
    return found != before


def _grouped(here: Sequence[Here], policies: Sequence[tuple[Key, Policy]]) -> list[_Group]:
    by_namespace: dict[str, list[tuple[Key, Policy]]] = defaultdict(list)
    for key, policy in policies:
        by_namespace[key.namespace].append((key, policy))
    groups: dict[tuple[Key, ...], _Group] = {}
    for uid, namespace, labels in here:
        selecting = [one for one in by_namespace[namespace] if one[1].selector.selects(labels)]
        keys = tuple(key for key, _ in selecting)
        groups.setdefault(keys, _Group([policy for _, policy in selecting], [])).machines.append(uid)
    return list(groups.values())


Items = Sequence[tuple[tuple[str, str], T]]


def _cluster(
    namespaces: Mapping[str, dict[str, str]],
    pods: Items[PeerPod],
    addresses: Mapping[str, int],
    services: Items[Object],
    slices: Items[Object],
) -> Cluster:
    by_namespace: dict[str, list[PeerPod]] = defaultdict(list)
    for (namespace, _), pod in pods:
        by_namespace[namespace].append(pod)
    known = {Key(*key): service for key, service in services}
    ports = peers.service_ports(known, (one for _, one in slices)) if known else ()
    return Cluster(namespaces, by_namespace, addresses, ports)


def _addressed(machine: Object) -> tuple[str, int] | None:
    try:
        address = IPv4Address((machine.get("status") or {}).get("ipAddress") or "")
    except AddressValueError:
        return None
    return machine["metadata"]["uid"], int(address)


def _itself(obj: Object) -> Object:
    return obj
