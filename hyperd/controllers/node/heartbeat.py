"""Which nodes a hyperd serves: each daemon keeps a Lease for its node, the leader reads them.

It is no lock. Nothing is taken from a node because its lease expired; only nothing new is bound to it. Whether a
lease is renewed is seen from its changes, by the reader's own clock.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.node.promise import RENEWALS, Promise
from hyperd.errors import HyperdError
from hyperd.resources.core.kinds import LEASE
from hyperd.resources.values import meta
from hyperd.resources.values.meta import labels, now_micro, parse_time
from hyperd.resources.values.names import (
    LEASE_PROMISE_ANNOTATION,
    LEASE_WORD_ANNOTATION,
    NODE_LEASE_LABEL,
    SYSTEM_NAMESPACE,
)
from hyperd.store.interface import PatchType, Requirement, Selector, Store

if TYPE_CHECKING:
    from hyperd.resources.views.core import Lease, LeaseSpec

_log = logging.getLogger(__name__)

DURATION_SECONDS = 40
_FORGOTTEN_SECONDS = 3600.0


def lease_name(node_name: str) -> str:
    """The name of a node's lease."""
    return f"node-{node_name}"


class Guarding(Protocol):
    """What has guests of this node end where it is cut off."""

    async def promise(self) -> Promise | None:
        """What can be promised with the next renewal; None for nothing."""
        ...

    def alone(self) -> AbstractAsyncContextManager[object]:
        """While a renewal goes on nothing else is said of what is promised."""
        ...

    def sends(self) -> None:
        """A renewal is sent now: it may come about, whatever is answered."""
        ...

    async def renewed(self, began: float, promise: Promise | None) -> None:
        """A renewal that was begun at ``began`` has come about."""
        ...


class Heartbeat:
    """Keeps this node's lease while libvirt answers here."""

    def __init__(self, context: Context, guarding: Guarding | None = None) -> None:
        self._context = context
        self._guarding = guarding
        self._seconds = context.settings.kubernetes.node_lease_seconds
        self._wake = asyncio.Event()
        context.hypervisor.on_connection(lambda _: self._wake.set())

    async def run(self) -> None:
        """Renew until cancelled."""
        logged = ""
        while True:
            self._wake.clear()
            if self._context.hypervisor.connected:
                try:
                    alone = nullcontext() if self._guarding is None else self._guarding.alone()
                    async with asyncio.timeout(self._seconds / RENEWALS), alone:
                        await self._renew()
                    logged = ""
                except (HyperdError, TimeoutError) as err:
                    why = str(err) or "no answer in time"
                    if logged != why:
                        logged = why
                        _log.warning("The lease of this node cannot be renewed: %s", why)
            try:
                await asyncio.wait_for(self._wake.wait(), self._seconds / RENEWALS)
            except TimeoutError:
                continue

    async def _renew(self) -> None:
        store, namespace = self._context.store, SYSTEM_NAMESPACE
        name = lease_name(self._context.node_name)
        promise = None if self._guarding is None else await self._guarding.promise()
        began = clock.elapsed()
        found = await store.find(LEASE, namespace, name)
        if found is None:
            promise = None  # what is made comes about however late it is: also after it was taken back
        there = meta.annotations(found or {}).get(LEASE_WORD_ANNOTATION, "")
        words: dict[str, str | None] = {LEASE_WORD_ANNOTATION: await self._context.witness.renew(there)}
        if promise is not None:
            words[LEASE_PROMISE_ANNOTATION] = promise.encode()
        elif LEASE_PROMISE_ANNOTATION in meta.annotations(found or {}):
            words[LEASE_PROMISE_ANNOTATION] = None
        spec: LeaseSpec = {
            "holderIdentity": self._context.node_name,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "renewTime": now_micro(),
        }
        body = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {NODE_LEASE_LABEL: self._context.node_name},
                "annotations": words,
            },
            "spec": spec,
        }
        if self._guarding is not None:
            self._guarding.sends()
        if found is None:
            await store.create(LEASE, namespace, body)
        else:
            # As it was found: what comes about late undoes nothing that was said since.
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            patch = {"metadata": {"annotations": words, **version}, "spec": spec}
            await store.patch(LEASE, namespace, name, PatchType.MERGE, patch)
        if self._guarding is not None:
            await self._guarding.renewed(began, promise)


async def served_nodes(store: Store, seen: clock.Seen) -> frozenset[str]:
    """The nodes whose hyperd was heard of within the duration of its lease; ``seen`` keeps what was seen before.

    A lease that was renewed since the last look, not long ago, is heard of, whatever its node's clock says. Where
    there was no such look its stamp has to do.
    """
    leases = await node_leases(store)
    return frozenset(node for node, lease in leases.items() if _is_fresh(lease, seen))


async def node_leases(store: Store) -> dict[str, Lease]:
    """Of all nodes that have, or had, a hyperd; by the node's name. Raises HyperdError."""
    selector = Selector(labels=(Requirement(NODE_LEASE_LABEL, "exists"),))
    listing = await store.list(LEASE, SYSTEM_NAMESPACE, selector=selector)
    found = (item.object() for item in listing.items)
    # A lease has the name of its node: another one says nothing of it.
    named = ((labels(lease)[NODE_LEASE_LABEL], lease) for lease in found)
    return {node: lease for node, lease in named if lease["metadata"]["name"] == lease_name(node)}


def is_forgotten(lease: Lease) -> bool:
    """Whether it was not renewed for so long, by this node's clock, that nobody waits for its node any more."""
    try:
        renewed = parse_time((lease.get("spec") or {}).get("renewTime") or "")
    except ValueError:
        return True
    return abs((clock.now() - renewed).total_seconds()) > _FORGOTTEN_SECONDS


def _is_fresh(lease: Lease, seen: clock.Seen) -> bool:
    spec, uid = lease.get("spec") or {}, lease["metadata"]["uid"]
    renewed, duration = spec.get("renewTime") or "", spec.get("leaseDurationSeconds") or DURATION_SECONDS
    try:
        stamped = abs((clock.now() - parse_time(renewed)).total_seconds())
    except ValueError:
        return False
    return seen.age(uid, renewed, hint=stamped, within=duration) < duration
