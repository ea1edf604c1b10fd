"""Samples as objects: a ``Store`` that is only read, and whose resourceVersion is the number of a sample.

A watch tells every sample as it is taken; one that reads too slowly misses some, and the counters make up for it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from hyperd.api.stats.sampler import Sample, Sampler
from hyperd.errors import Expired, NotFound
from hyperd.resources.core.stats import NODE_STATS, VIRTUAL_MACHINE_STATS
from hyperd.resources.schema.kind import Kind, Object, V
from hyperd.slices import sliced
from hyperd.store.interface import EVERYTHING, EventType, Item, Listing, Selector, Store, Watch, WatchEvent
from hyperd.store.paging import check_version, parse_version, read_token
from hyperd.store.records import Name, Stored
from hyperd.store.selecting import check_selector, selects
from hyperd.store.unstored import ReadOnly, page

_BOOKMARK_SECONDS: Final = 20.0
_OBJECT_BYTES: Final = 1 << 10
_FOREVER: Final = 1e9

Make = Callable[[Sample], Iterator[Object]]
Made = Mapping[Name, Stored]


def stores(sampler: Sampler, node: str) -> Mapping[Kind, Store]:
    """The stores of what is measured on this node."""
    return {
        VIRTUAL_MACHINE_STATS: StatsStore(sampler, VIRTUAL_MACHINE_STATS, lambda sample: _machines(sample, node)),
        NODE_STATS: StatsStore(sampler, NODE_STATS, lambda sample: _node(sample, node)),
    }


class StatsStore(ReadOnly):
    """``Store`` of one kind of samples."""

    def __init__(self, sampler: Sampler, kind: Kind, make: Make) -> None:
        self._sampler = sampler
        self._kind = kind
        self._make = make
        self._known: dict[int, Made] = {}
        self._making = asyncio.Lock()
        """Held while a sample becomes objects, which all who watch wake up for at once."""

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "") -> Item:
        made = await self._of(await self._sampler.fresh())
        found = made.get((namespace, name))
        if found is None:
            raise NotFound(
                f'{kind.qualified_resource} "{name}" not found: what does not run is not measured',
                kind=kind.plural, group=kind.group, name=name,
            )  # fmt: skip
        return found

    async def find(self, kind: Kind[V], namespace: str, name: str) -> V | None:
        made = await self._of(await self._sampler.fresh())
        found = made.get((namespace, name))
        return found.object() if found is not None else None

    async def find_all(self, kind: Kind[V], namespace: str | None = None) -> Sequence[V]:
        made = await self._of(await self._sampler.fresh())
        return [one.object() for one in self._within(made, namespace, EVERYTHING).values()]

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> Listing:
        """Pages are of their own moment; all name the first one's version."""
        check_selector(self._kind, selector)
        first, after = read_token(continue_token) if continue_token else (0, ("", ""))
        sample = await self._sampler.fresh()
        check_version(resource_version, match, sample.number)
        made = self._within(await self._of(sample), namespace, selector)
        version = str(first or sample.number)
        return page(made.values(), version, after=after, limit=limit, counted=not selector)

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        resource_version: str = "",
        bookmarks: bool = False,
        send_initial: bool | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Watch]:
        check_selector(self._kind, selector)
        number = parse_version(resource_version) if resource_version else 0
        begin = self._sampler.at(number)
        if number and begin is None:
            raise Expired(f"The sample {number} is not kept any more: list anew.")
        deadline = time.monotonic() + (_FOREVER if timeout is None else timeout)
        with self._sampler.watching():
            yield self._events(namespace, selector, begin, bookmarks, bool(send_initial), deadline)

    async def _events(
        self,
        namespace: str | None,
        selector: Selector,
        begin: Sample | None,
        bookmarks: bool,
        send_initial: bool,
        deadline: float,
    ) -> AsyncIterator[WatchEvent]:
        shown: Made = {}
        sample = begin
        if sample is None:
            sample = await self._sampler.fresh()
        else:
            shown = self._within(await self._of(sample), namespace, selector)
        announce = send_initial
        told = time.monotonic()
        while True:
            if sample is not begin:
                made = self._within(await self._of(sample), namespace, selector)
                for event in _differences(shown, made):
                    yield event
                told = time.monotonic() if made else told
                shown = made
            now = time.monotonic()
            if announce or (bookmarks and now - told >= _BOOKMARK_SECONDS):
                yield WatchEvent.bookmark(self._kind, str(sample.number), initial_events_end=announce)
                announce, told = False, now
            if now >= deadline:
                return
            try:
                async with asyncio.timeout(min(deadline - now, _BOOKMARK_SECONDS)):
                    sample = await self._sampler.after(sample.number)
            except TimeoutError:
                begin = sample

    async def _of(self, sample: Sample) -> Made:
        async with self._making:
            made = self._known.get(sample.number)
            if made is None:
                bodies = list(self._make(sample))
                items = await sliced(bodies, lambda body: Stored.encode(self._kind, body, sample.number), _weight)
                made = {(item.namespace, item.name): item for item in items}
                self._known = {number: kept for number, kept in self._known.items() if self._sampler.at(number)}
                self._known[sample.number] = made
        return made

    def _within(self, made: Made, namespace: str | None, selector: Selector) -> Made:
        if namespace is None and not selector:
            return made
        return {
            name: item
            for name, item in made.items()
            if (namespace is None or name[0] == namespace) and selects(self._kind, selector, item)
        }

    def refusal(self) -> str:
        return f"{self._kind.plural} are measured and cannot be written"


def _differences(before: Made, now: Made) -> Iterator[WatchEvent]:
    for name, item in before.items():
        if name not in now:
            yield WatchEvent(EventType.DELETED, item)
    for name, item in now.items():
        yield WatchEvent(EventType.MODIFIED if name in before else EventType.ADDED, item)


def _weight(_: Object) -> int:
    return _OBJECT_BYTES


def _head(kind: Kind, sample: Sample, node: str, *, namespace: str, name: str, of: str) -> Object:
    stamp = datetime.fromtimestamp(sample.wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    uid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind.group}/{of}"))
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            "uid": uid,
            "creationTimestamp": stamp,
        },
        "node": node,
        "timestamp": stamp,
        "uptimeNanoseconds": sample.uptime_ns,
    }


def _machines(sample: Sample, node: str) -> Iterator[Object]:
    for info, stats in sample.machines:
        usable = {} if stats.usable_bytes is None else {"usableBytes": stats.usable_bytes}
        yield {
            **_head(VIRTUAL_MACHINE_STATS, sample, node, namespace=info.namespace, name=info.vm_name, of=info.uid),
            "cpu": {
                "cores": stats.vcpus,
                "nanoseconds": stats.cpu_time_ns,
                "waitNanoseconds": stats.vcpu_delay_ns,
            },
            "memory": {"bytes": stats.memory_bytes, "residentBytes": stats.resident_bytes, **usable},
            "disks": [
                {
                    "target": disk.target,
                    "readBytes": disk.read_bytes,
                    "readRequests": disk.read_requests,
                    "writeBytes": disk.write_bytes,
                    "writeRequests": disk.write_requests,
                }
                for disk in stats.disks
            ],
            # libvirt counts at the tap: what comes in there is what the guest has sent.
            "interfaces": [
                {"name": nic.tap, "receivedBytes": nic.tx_bytes, "sentBytes": nic.rx_bytes} for nic in stats.nics
            ],
        }


def _node(sample: Sample, node: str) -> Iterator[Object]:
    host = sample.host
    yield {
        **_head(NODE_STATS, sample, node, namespace="", name=node, of=node),
        "cpu": {"cores": host.cores, "nanoseconds": host.busy_ns, "waitNanoseconds": host.io_wait_ns},
        "memory": {"bytes": host.memory, "availableBytes": host.memory_available},
        "storage": {"bytes": host.storage, "availableBytes": host.storage_available},
        "machines": len(sample.machines),
    }
