"""Addresses of guests whose machines the store does not know: no lease may give them away.

On this host the routes tell. Of another node its own Lease does, which is that node's to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address

from hyperd.controllers.node.heartbeat import lease_name
from hyperd.resources.core.kinds import LEASE
from hyperd.resources.values import meta
from hyperd.resources.values.names import NODE_LEASE_LABEL, SYSTEM_NAMESPACE, TAKEN_ADDRESSES_ANNOTATION
from hyperd.store.interface import PatchType, Requirement, Selector, Store


async def taken_addresses(store: Store) -> set[IPv4Address]:
    """Of all nodes."""
    selector = Selector(labels=(Requirement(NODE_LEASE_LABEL, "exists"),))
    listing = await store.list(LEASE, SYSTEM_NAMESPACE, selector=selector)
    texts = [
        text
        for item in listing.items
        for text in meta.annotations(item.object()).get(TAKEN_ADDRESSES_ANNOTATION, "").split(",")
    ]
    return {address for text in texts if (address := parsed(text)) is not None}


async def show_taken(store: Store, node_name: str, addresses: Iterable[IPv4Address]) -> None:
    """Say so of this node's guests; nothing is written that is said already."""
    wanted = ",".join(sorted(map(str, addresses))) or None
    lease = await store.find(LEASE, SYSTEM_NAMESPACE, lease_name(node_name))
    if lease is None or meta.annotations(lease).get(TAKEN_ADDRESSES_ANNOTATION) == wanted:
        return
    patch = {"metadata": {"annotations": {TAKEN_ADDRESSES_ANNOTATION: wanted}}}
    await store.patch(LEASE, SYSTEM_NAMESPACE, lease_name(node_name), PatchType.MERGE, patch)


def parsed(text: str) -> IPv4Address | None:
    """None for what is no address."""
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None
