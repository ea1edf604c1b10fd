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
from hyperd.controllers.pod.tenants import address_of
from hyperd.controllers.policy import peers
from hyperd.controllers.policy.compiling import Cluster, make_filter, namespaces_of, peers_of
from hyperd.controllers.policy.feed import ALL, Feed
from hyperd.controllers.policy.peers import PeerPod
from hyperd.controllers.policy.rules import Policy, read
from hyperd.controllers.policy.troubles import Troubles
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
_COSTLY_SECONDS: Final = 0.2
"""For the policies of one namespace."""
_LONG_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 5.0
"""Between looks at whether it holds."""

Here = tuple[str, str, dict[str, str]]
"""A machine whose Pod is on this node: its uid, its namespace, its Pod's labels."""


_GroupKey = tuple[str, tuple[Key, ...]]
"""A namespace, and policies."""


@dataclass(frozen=True)
class _Group:
    """Machines that the same policies select, of one namespace."""

    key: _GroupKey
    policies: Sequence[Policy]
    machines: list[str]

    @property
    def namespace(self) -> str:
        return self.key[0]

    @property
    def leaves(self) -> bool:
        """Whether one is about what leaves them."""
        return any(policy.leaving is not None for policy in self.policies)


class Policies:
    """``run`` is to go on as long as the daemon does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.troubles = Troubles()
        self._informers: dict[Kind, Informer] = {
            POD: context.informer(POD),
            # Not the daemon's own, which waits for all of those: it may not be allowed to read these yet.
            NETWORK_POLICY: Informer(context.store, NETWORK_POLICY),
            NAMESPACE: Informer(context.store, NAMESPACE),
            VIRTUAL_MACHINE: context.informer(VIRTUAL_MACHINE),
            VIRTUAL_MACHINE_IP_ADDRESS_LEASE: context.informer(VIRTUAL_MACHINE_IP_ADDRESS_LEASE),
        }
        self._followed = self._informers[NETWORK_POLICY], self._informers[NAMESPACE]
        self._changed: set[tuple[Kind, Key]] = set()
        """What is to be looked at."""
        self._here: dict[Key, Here] = {}
        self._addresses: dict[Key, IPv4Address] = {}
        """Of the Pods of all machines, on whatever nodes."""
        self._met = False
        """Whether the network has these."""
        self._policies: dict[Key, Policy] = {}
        self._namespaces: dict[Key, dict[str, str]] = {}
        self._machines: dict[Key, tuple[str, int]] = {}
        """Machines that have an address: their uids and that."""
        self._owners: dict[Key, str] = {}
        """Leases, and whose they are: namespaces."""
        self._told: dict[str, Filter] = {}
        """What the network has, by the machine's uid."""
        self._waiting: dict[str, Filter] = {}
        """What it does not have yet."""
        self._worked: dict[_GroupKey, float] = {}
        """When that of groups was last worked out."""
        self._spent: dict[str, float] = {}
        """How long policies took last time, in seconds, by namespace."""
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
        self._waiting.clear()
        await self._look(unread=True)
        following = [asyncio.create_task(one.run(), name=f"follow {one.kind.plural}") for one in self._followed]
        try:
            for one in self._followed:
                # Nothing is let through before, and all else of the daemon goes on.
                while not one.synced.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await one.synced.wait()
                    await self._look(unread=True)
            for kind, informer in self._informers.items():
                self._changed.update((kind, Key(item.namespace, item.name)) for item in informer.items())
            await self._run()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            for feed in (self._pods, self._services, self._slices):
                await feed.close()

    async def _run(self) -> None:
        loop, again = asyncio.get_running_loop(), True
        mended = loop.time()
        while True:
            self._wake.clear()
            changed, self._changed = list(self._changed), set()
            began = loop.time()
            anew = any(await sliced(changed, self._look_at, self._size))
            await self._meet()
            if anew or again or self._heard:
                self._heard = False
                again = not await self._keep()
            for uid, allowed in list(self._waiting.items()):
                await self._tell(uid, allowed)
            if began - mended >= _LOOK_SECONDS:
                mended = began
                for uid, allowed in list(self._told.items()):  # somebody may have flushed it
                    await self._tell(uid, allowed)
            await self._look()
            await asyncio.sleep(min(max(_GATHERING_SECONDS, _SHARE * (loop.time() - began)), _AGAIN_SECONDS))
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS if again or self._waiting else _LOOK_SECONDS):
                    await self._wake.wait()

    async def _meet(self) -> None:
        """Have machines ask each other under their own addresses."""
        if not self._met:
            try:
                await self._context.network.meet(frozenset(self._addresses.values()))
                self._met = True
            except HyperdError as error:
                _log.warning("%s", error.message)  # again with the next look

    async def _keep(self) -> bool:
        """Whether everything is worked out. What comes meanwhile is looked at first, where this takes long."""
        groups = await asyncio.to_thread(_grouped, list(self._here.values()), list(self._policies.items()))
        there = {uid for group in groups for uid in group.machines}
        for uid in (self._told.keys() | self._waiting.keys()) - there:
            self._told.pop(uid, None)
            self._waiting.pop(uid, None)
            await self._context.network.guard(uid, None)
        needs = await self._follow(groups)
        # Of the same moment as what is worked with. What is not known by then wakes us.
        known = [
            self._pods.knows(wanted) and (self._knows_services() or not group.leaves)
            for group, wanted in zip(groups, needs, strict=True)
        ]
        cluster = await asyncio.to_thread(
            _cluster,
            {key.name: labels for key, labels in self._namespaces.items()},
            self._pods.items(),
            {uid: address for key, (uid, address) in self._machines.items() if self._is_its(key, address)},
            self._services.items(),
            self._slices.items(),
        )
        loop, spent = asyncio.get_running_loop(), dict[str, float]()
        began = loop.time()
        # A namespace whose policies take long to work out does not keep others' from holding.
        ready = [group for group, holds in zip(groups, known, strict=True) if holds]
        self._worked = {group.key: self._worked.get(group.key, 0.0) for group in groups}
        costly = 0
        # Of what takes long the oldest comes first, and one at least, whatever comes meanwhile.
        for group in sorted(ready, key=lambda one: (self._is_costly(one), self._worked[one.key])):
            if costly and (self._changed or self._heard) and loop.time() - began > _LONG_SECONDS:
                return False
            costly += self._is_costly(group)
            since = loop.time()
            allowed = await asyncio.to_thread(make_filter, group.policies, cluster) if group.policies else OPEN
            spent[group.namespace] = spent.get(group.namespace, 0.0) + loop.time() - since
            self._spent[group.namespace], self._worked[group.key] = spent[group.namespace], loop.time()
            for uid in group.machines:
                if self._told.get(uid) != allowed:
                    await self._tell(uid, allowed)
        self._spent = spent
        return True

    async def _tell(self, uid: str, allowed: Filter) -> None:
        try:
            await self._context.network.guard(uid, allowed)
        except HyperdError as error:
            level = logging.DEBUG if isinstance(error, TemporaryError) else logging.WARNING
            _log.log(level, "The NetworkPolicies of machine %s do not hold yet: %s", uid, error.message)
            self.troubles.failed(uid, error.message)
            self._told.pop(uid, None)
            self._waiting[uid] = allowed
        else:
            self.troubles.held(uid)
            self._told[uid] = allowed
            self._waiting.pop(uid, None)

    async def _look(self, *, unread: bool = False) -> None:
        """Have it said of which machines they do not hold."""
        if unread:
            pods = [one for one in self._changed if one[0] is POD]
            self._changed.difference_update(pods)
            await sliced(pods, self._look_at, self._size)
        here = {
            uid: Key(namespace, labels.get(names.VM_POD_NAME_LABEL, ""))
            for uid, namespace, labels in self._here.values()
        }
        self.troubles.look(here, self._told.keys(), unread=unread)

    async def _follow(self, groups: Sequence[_Group]) -> list[set[str]]:
        """Have what these policies speak of be followed: the namespaces whose Pods each of them means."""
        labels = {key.name: labels for key, labels in self._namespaces.items()}
        needs = list[set[str]]()
        for group in groups:
            wanted: set[str] = set()
            for own, peer in peers_of(group.policies):
                of = peer.namespaces
                wanted.update((own,) if of is None else namespaces_of(of, labels))
            needs.append(wanted)
        everywhere = None if any(group.leaves for group in groups) else frozenset[str]()
        await self._pods.follow(frozenset().union(*needs))
        await self._services.follow(everywhere)
        await self._slices.follow(everywhere)
        return needs

    def _is_costly(self, group: _Group) -> bool:
        return self._spent.get(group.namespace, 0.0) > _COSTLY_SECONDS

    def _knows_services(self) -> bool:
        return self._services.knows((ALL,)) and self._slices.knows((ALL,))

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
            address = None if obj is None else address_of(obj)
            self._met = not _put(self._addresses, key, address) and self._met
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
    groups: dict[_GroupKey, _Group] = {}
    for uid, namespace, labels in here:
        selecting = [one for one in by_namespace[namespace] if one[1].selector.selects(labels)]
        name = namespace, tuple(key for key, _ in selecting)
        groups.setdefault(name, _Group(name, [policy for _, policy in selecting], [])).machines.append(uid)
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
