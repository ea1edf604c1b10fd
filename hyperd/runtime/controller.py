"""The loop every controller runs: take a key, look at the object and the world, do the next step.

The rule it keeps: a controller says what to do (``reconcile``); when, how often and what happens after a failure
is decided here, by the type of the error. ``Manager`` owns the informers, one for each kind, and the tasks.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import ClassVar

from hyperd.background import Background, told_to_end
from hyperd.errors import Conflict, HyperdError, PermanentError, TemporaryError
from hyperd.resources.schema.kind import Kind, V
from hyperd.resources.values.meta import Key
from hyperd.runtime.informer import Informer
from hyperd.runtime.status import RACE
from hyperd.runtime.workqueue import QueueClosed, WorkQueue
from hyperd.store.interface import EVERYTHING, EventType, Item, Selector, Store

__all__ = [
    "Controller",
    "ControllerMetrics",
    "ControllerReport",
    "Key",
    "Manager",
    "Mapper",
    "Result",
    "owner_keys",
]

_log = logging.getLogger(__name__)
SLOW_SECONDS = 3.0
"""A reconcile that takes longer no longer takes a worker's place."""
MAX_SLOW = 64
"""So many of one controller may."""


@dataclass(frozen=True)
class Result:
    """What a reconcile asks for: to be called again after so many seconds, though nothing changed."""

    requeue_after: float | None = None


Mapper = Callable[[Item], Iterable[Key]]
"""From a changed object of another kind to the keys that it concerns. It is asked for the old and new state."""


@dataclass
class ControllerMetrics:
    """Plain counters for /metrics; seconds are of wall time inside ``reconcile``."""

    reconciles: int = 0
    errors: int = 0
    seconds_total: float = 0.0
    busy: int = 0
    """Workers that reconcile at this moment."""


def owner_keys(kind: Kind) -> Mapper:
    """A mapper from an owned object to its owners of ``kind``."""

    def keys(item: Item) -> Iterable[Key]:
        for ref in item.object()["metadata"].get("ownerReferences", ()):
            if ref.get("kind") == kind.kind and ref.get("apiVersion", "").partition("/")[0] == kind.group:
                yield Key(item.namespace if kind.namespaced else "", ref["name"])

    return keys


def _always() -> bool:
    return True


class Controller(ABC):
    """One controller. Give ``name``, ``kind`` and ``reconcile``; override ``watches`` for other kinds.

    The kind says what its objects are kept by (``Kind.finalizer``) and which condition sums them up.
    """

    name: str
    kind: Kind
    workers: int = 4
    cluster_wide: bool = False
    """Whether only the leader of all daemons does this work; the others leave its keys alone."""
    writes: ClassVar[Mapping[Kind, Collection[str]]] = {}
    """Kind → the verbs that it uses beside updates of status and finalizers. A cluster's role is made of it."""

    def __init__(self) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self.metrics = ControllerMetrics()
        self._logged: dict[Key, str] = {}
        self._slow = 0

    @abstractmethod
    async def reconcile(self, key: Key) -> Result | None:
        """Bring the world one step nearer to the object ``key``, which may be gone by now.

        Idempotent, and without memory of earlier calls. TemporaryError and Conflict are tried again,
        PermanentError waits until the object changes, anything else is logged as a defect and tried again.
        """

    def watches(self) -> Mapping[Kind, Mapper]:
        """Other kinds whose changes concern objects of ``self.kind``."""
        return {}

    def wants(self, old: Item | None, new: Item | None) -> bool:
        """Whether a change of an object of ``self.kind`` itself is worth a look."""
        return True

    def enqueue(self, key: Key) -> None:
        """Look at ``key`` soon; for events that no object carries, such as libvirt's."""
        self.queue.add(key)

    # Used by the manager

    def on_own(self, _: EventType, old: Item | None, new: Item | None) -> None:
        """Handler of the informer of ``self.kind``."""
        item = new or old
        if item is not None and self.wants(old, new):
            self.queue.add(Key(item.namespace, item.name))

    def on_other(self, mapper: Mapper) -> Callable[[EventType, Item | None, Item | None], None]:
        """Handler of the informer of another kind."""

        def handle(_: EventType, old: Item | None, new: Item | None) -> None:
            for item in (old, new):
                if item is not None:
                    for key in mapper(item):
                        self.queue.add(key)

        return handle

    async def close(self) -> None:
        """End what goes on beside the queue, and wait for it. Safe to call twice."""
        return

    async def stand_down(self) -> None:
        """Another daemon leads now: end what goes on beside the queue. Cluster-wide controllers only."""
        return

    async def work(self, leads: Callable[[], bool] = _always) -> None:
        """One worker; ends when the queue is closed. ``leads`` says whether cluster-wide work is ours.

        A reconcile that takes long, as a guest hangs that it asks, goes on beside the next key.
        """
        slow: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    key = await self.queue.get()
                except QueueClosed:
                    return
                task = asyncio.create_task(self._whole(key, leads), name=f"{self.name}: {key}")
                slow.add(task)
                task.add_done_callback(slow.discard)
                done, _ = await asyncio.wait({task}, timeout=SLOW_SECONDS)
                if not done and self._slow < MAX_SLOW:
                    self._slow += 1
                    task.add_done_callback(self._no_longer_slow)
                else:
                    await task
        finally:
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    def _no_longer_slow(self, _: asyncio.Task[None]) -> None:
        self._slow -= 1

    async def _whole(self, key: Key, leads: Callable[[], bool]) -> None:
        try:
            if leads() or not self.cluster_wide:
                await self._once(key)
            else:
                self.queue.forget(key)
        finally:
            self.queue.done(key)

    async def _once(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.metrics.busy += 1
        try:
            result = await self.reconcile(key)
        except PermanentError as err:
            self._failed(key, err)
            self.queue.forget(key)
        except Conflict:
            # Somebody was faster; what they wrote is already on its way to the informer.
            self.queue.add_limited(key)
        except TemporaryError as err:
            self._failed(key, err)
            if err.delay is None:
                self.queue.add_limited(key)
            else:
                self.queue.add_after(key, err.delay)
        except HyperdError as err:
            self._failed(key, err)
            self.queue.add_limited(key)
        except asyncio.CancelledError:
            if told_to_end():
                raise
            self._defect(key)
        except Exception:  # noqa: BLE001  border: a defect in one reconcile must not end the worker
            self._defect(key)
        else:
            self._logged.pop(key, None)
            self.queue.forget(key)
            if result is not None and result.requeue_after is not None:
                self.queue.add_after(key, max(result.requeue_after, 0.001))
        finally:
            self.metrics.busy -= 1
            self.metrics.reconciles += 1
            self.metrics.seconds_total += loop.time() - started

    def _defect(self, key: Key) -> None:
        self.metrics.errors += 1
        delay = self.queue.add_limited(key)
        _log.exception("%s: reconciling %s failed; trying again in %.1f s", self.name, key, delay)

    def _failed(self, key: Key, err: HyperdError) -> None:
        """Log a failure the first time it is seen; the same sentence again is noise."""
        self.metrics.errors += 1
        if isinstance(err, TemporaryError) and err.key == RACE:
            _log.debug("%s: %s: %s", self.name, key, err.message)
        elif self._logged.get(key) != err.message:
            self._logged[key] = err.message
            _log.warning("%s: %s: %s", self.name, key, err.message)


@dataclass(frozen=True)
class ControllerReport:
    """One controller's figures at a moment."""

    name: str
    queue_depth: int
    delayed: int
    metrics: ControllerMetrics = field(default_factory=ControllerMetrics)


class Manager:
    """Shared informers and the controllers over them. Add everything, then ``start``; ``stop`` ends all."""

    def __init__(
        self,
        store: Store,
        *,
        leads: Callable[[], bool] = _always,
        selectors: Mapping[Kind, Selector] = MappingProxyType({}),
    ) -> None:
        """``leads`` is asked before each piece of cluster-wide work; ``selectors`` say what of a kind counts."""
        self._store = store
        self._selectors = selectors
        self._leads = leads
        self._informers: dict[Kind, Informer] = {}
        self._controllers: list[Controller] = []
        self._background = Background()
        self._started = False

    def informer(self, kind: Kind[V]) -> Informer[V]:
        """The informer of ``kind``, the same one for everybody. New kinds only before ``start``."""
        found = self._informers.get(kind)
        if found is None:
            if self._started:
                raise RuntimeError(f"the informer of {kind.plural} was asked for after the start")
            found = self._informers[kind] = Informer(
                self._store, kind, selector=self._selectors.get(kind, EVERYTHING)
            )
        return found

    def add(self, controller: Controller) -> None:
        """Wire a controller to the informers of its kinds."""
        self._controllers.append(controller)
        self.informer(controller.kind).add_handler(controller.on_own)
        for kind, mapper in controller.watches().items():
            self.informer(kind).add_handler(controller.on_other(mapper))

    async def start(self) -> None:
        """Fill the informers, then let the workers begin: no reconcile sees half a world."""
        self._started = True
        for informer in self._informers.values():
            self._background.spawn(informer.run, f"informer {informer.kind.plural}")
        for informer in self._informers.values():
            await informer.synced.wait()
        for controller in self._controllers:
            for number in range(controller.workers):
                self._background.spawn(partial(controller.work, self._leads), f"{controller.name} {number}")

    def lead(self, leads: bool) -> None:
        """Another answer of ``leads``: look at everything anew, or end what this daemon no longer may do."""
        for controller in self._controllers:
            if leads:
                for item in self._informers[controller.kind].items():
                    controller.enqueue(Key(item.namespace, item.name))
            elif controller.cluster_wide:
                self._background.spawn(controller.stand_down, f"{controller.name} stands down")

    async def stop(self) -> None:
        """Cancel all workers and informers and wait for them; safe to call twice."""
        for controller in self._controllers:
            controller.queue.close()
        await self._background.stop()

    def report(self) -> list[ControllerReport]:
        """Figures of all controllers, for /metrics."""
        return [ControllerReport(c.name, len(c.queue), c.queue.delayed, c.metrics) for c in self._controllers]
