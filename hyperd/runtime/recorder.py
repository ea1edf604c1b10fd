"""Events: what happened to an object, for people.

The rule it keeps: recording never waits and never fails a reconcile. The same event again raises a counter
instead of making an object, a chatty object runs into a limit, and old events are removed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hyperd import clock
from hyperd.bucket import TokenBucket
from hyperd.errors import HyperdError, NotFound
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.values.meta import parse_time
from hyperd.store.interface import PatchType, Store

_log = logging.getLogger(__name__)

QUEUE_LIMIT = 1000
"""Events that wait to be written; beyond it the newest are dropped, and counted."""

BURST = 25
"""Events that one object may have written at once."""

REFILL_SECONDS = 10.0
"""An object gets the right to one more event after so many seconds."""

REMEMBERED = 2048
"""Events whose counter can still be raised."""

SEEN_LIMIT = 200_000
"""Events whose age is measured by a clock that cannot be set."""

PAGE = 500
MESSAGE_LIMIT = 1024

EventLevel = Literal["Normal", "Warning"]


@dataclass
class _Known:
    """An event that exists: where, and how often it was seen."""

    namespace: str
    name: str
    count: int
    expires: float


_EventKey = tuple[str, str, str, str]


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds_since(stamp: str, now: datetime) -> float:
    """What the wall clock says; for ever where the stamp says nothing."""
    try:
        return (now - parse_time(stamp)).total_seconds()
    except ValueError:
        return float("inf")


class EventRecorder:
    """Writes core v1 Events in the background. ``run`` must be running for anything to be written."""

    def __init__(
        self,
        store: Store,
        kind: Kind,
        *,
        component: str,
        host: str,
        ttl_seconds: float = 3600.0,
        prunes: bool = True,
        now: Callable[[], datetime] = clock.now,
        elapsed: Callable[[], float] = clock.elapsed,
    ) -> None:
        """``kind`` is the core Event kind; ``ttl_seconds`` is how long an event outlives its last sight.

        A home that ends events by itself, and holds those of others too, wants ``prunes`` False.
        """
        self._store = store
        self._kind = kind
        self._source = {"component": component, "host": host}
        self._ttl = ttl_seconds
        self._prunes = prunes
        self._now = now
        self._clock = elapsed
        self._queue: asyncio.Queue[tuple[_EventKey, Object]] = asyncio.Queue(QUEUE_LIMIT)
        self._known: OrderedDict[_EventKey, _Known] = OrderedDict()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._serial = 0
        self._lasted = clock.Seen(SEEN_LIMIT, elapsed=elapsed)
        self.dropped = 0
        """Events lost to the limits since the start."""

    def event(self, obj: AnyObject, level: EventLevel, reason: str, message: str) -> None:
        """Note that ``reason`` happened to ``obj``. Returns at once; the message is cut at 1,024 characters."""
        meta = obj["metadata"]
        if not self._allowed(meta.get("uid", "")):
            self.dropped += 1
            return
        namespace = meta.get("namespace") or "default"
        stamp = _stamp(self._now())
        involved = {
            "apiVersion": obj.get("apiVersion", ""),
            "kind": obj.get("kind", ""),
            "name": meta["name"],
            "namespace": meta.get("namespace", ""),
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", ""),
        }
        body: Object = {
            "apiVersion": self._kind.api_version,
            "kind": self._kind.kind,
            "metadata": {"namespace": namespace, "name": self._event_name(meta["name"])},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "type": level,
            "reason": reason,
            "message": message[:MESSAGE_LIMIT],
            "source": self._source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source["host"],
        }
        key = (involved["uid"] or involved["name"], level, reason, body["message"])
        try:
            self._queue.put_nowait((key, body))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Write what is recorded and remove what is old, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_all())
            if self._prunes:
                tasks.create_task(self._prune_always())

    async def flush(self) -> None:
        """Wait until all that was recorded so far is written."""
        await self._queue.join()

    async def prune(self) -> int:
        """Delete events whose last sight is older than the time to live; returns how many."""
        now = self._now()
        present: set[Hashable] = set()
        removed = 0
        token = ""
        while True:
            page = await self._store.list(self._kind, None, limit=PAGE, continue_token=token)
            for item in page.items:
                event = item.object()
                seen = event.get("lastTimestamp") or event.get("eventTime")
                seen = seen or event["metadata"].get("creationTimestamp", "")
                present.add(item.uid)
                if self._lasted.age(item.uid, seen, hint=_seconds_since(seen, now)) >= self._ttl:
                    try:
                        await self._store.delete(self._kind, item.namespace, item.name)
                        removed += 1
                    except NotFound:
                        continue
            token = page.continue_token
            if not token:
                self._lasted.keep_only(present)
                return removed

    async def _write_all(self) -> None:
        while True:
            key, body = await self._queue.get()
            try:
                await self._write(key, body)
            except HyperdError as err:
                self.dropped += 1
                _log.debug("An event of %s was not written: %s", body["involvedObject"].get("name"), err)
            except Exception:  # noqa: BLE001  border: no fault in an event may end the task
                self.dropped += 1
                _log.exception("Writing an event failed")
            finally:
                self._queue.task_done()

    async def _write(self, key: _EventKey, body: Object) -> None:
        known = self._known.get(key)
        if known is not None and known.expires > self._clock():
            patch = {"count": known.count + 1, "lastTimestamp": body["lastTimestamp"]}
            try:
                await self._store.patch(self._kind, known.namespace, known.name, PatchType.MERGE, patch)
            except NotFound:
                del self._known[key]
            else:
                known.count += 1
                known.expires = self._clock() + self._ttl
                self._known.move_to_end(key)
                return
        meta = body["metadata"]
        await self._store.create(self._kind, meta["namespace"], body)
        self._known[key] = _Known(meta["namespace"], meta["name"], 1, self._clock() + self._ttl)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _prune_always(self) -> None:
        while True:
            await asyncio.sleep(max(1.0, min(60.0, self._ttl / 10)))
            try:
                await self.prune()
            except HyperdError as err:
                _log.warning("Old events were not removed, trying again later: %s", err)

    def _allowed(self, uid: str) -> bool:
        bucket = self._buckets.get(uid)
        if bucket is None:
            bucket = TokenBucket(burst=BURST, rate=1 / REFILL_SECONDS, clock=self._clock)
            self._buckets[uid] = bucket
        self._buckets.move_to_end(uid)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket.take()

    def _event_name(self, name: str) -> str:
        """As other recorders do: the object's name and a number that grows, also while the wall clock does not."""
        self._serial = max(self._serial + 1, round(clock.wall() * 1e9))
        return f"{name[:200]}.{self._serial:016x}"
