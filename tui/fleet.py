"""All objects of all homes, kept current by watches: what every view draws from.

Each (home, kind) pair has a task of its own, so a home that hangs costs the others nothing. Rows of a home that
is lost stay, marked stale with the time since when; a watch resumes where it was, and lists again after 410.
Changes are gathered and told at most ten times a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from hyperd.client.health import Health
from hyperd.client.home import Home
from hyperd.client.resource import Resource
from hyperd.errors import Expired, Forbidden, HyperdError, NotFound, ServiceUnavailable, Timeout
from tui.shelf import Key, Object, Shelf

if TYPE_CHECKING:
    from hyperd.client.aio import AsyncClient

GATHER_SECONDS = 0.1
_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
_ABSENT_KIND_SECONDS = 60.0
_LASTING_SECONDS = 1.0
"""A watch that ends sooner is not followed by the next at once."""
MOST_HELD = 512 << 20
"""Bytes that the objects of one home may take, by ``http1.weight``: a home may send objects without end."""
BEAT_SECONDS = 4.0
"""How often a home must answer: a watch is silent for minutes, whether its daemon is well or hangs."""


class HomeStatus(StrEnum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    STALE = "stale"
    ERROR = "error"


@dataclass
class HomeState:
    """How one home is doing; ``since`` is monotonic time of the last change of ``status``."""

    home: Home
    status: HomeStatus = HomeStatus.CONNECTING
    since: float = field(default_factory=time.monotonic)
    message: str = ""
    too_many: set[str] = field(default_factory=set)
    """Kinds of which it has more than is kept; none of them are shown."""
    held: int = 0
    """What its objects weigh."""

    @property
    def trouble(self) -> str:
        """Why not all of it is here, or current; empty where it is."""
        if self.message and self.status in (HomeStatus.ERROR, HomeStatus.STALE):
            return self.message
        kinds = " and ".join(sorted(self.too_many))
        return f"{self.home.where} has more {kinds} than hv keeps; none are shown." if kinds else ""

    @property
    def stale(self) -> bool:
        return self.status is not HomeStatus.CONNECTED


class _TooMuch(Exception):
    """A home has more of a kind than there is room for."""


@dataclass(frozen=True)
class Changes:
    """What happened since the last telling: kind (plural) → keys; ``homes`` when a home's state changed."""

    keys: dict[str, set[Key]]
    homes: bool


class Fleet:
    """The store of the TUI. ``tell`` is called on the event loop with what changed."""

    def __init__(self, homes: Sequence[Home], resources: Iterable[Resource]) -> None:
        self.homes: dict[str, HomeState] = {}
        for home in homes:
            name = home.name
            while name in self.homes:
                name += "'"
            self.homes[name] = HomeState(home)
        self.resources = {resource.plural: resource for resource in resources}
        self._by_kind = {resource.kind: resource for resource in self.resources.values()}
        self._shelves = {plural: Shelf() for plural in self.resources}
        self._weights: dict[str, dict[Key, int]] = {plural: {} for plural in self.resources}
        self._listed: set[tuple[str, str]] = set()
        self._clients: dict[str, AsyncClient] = {}
        self._changed: dict[str, set[Key]] = {}
        self._homes_changed = False
        self._timer: asyncio.TimerHandle | None = None
        self._tell: Callable[[Changes], None] = lambda _: None

    def shelf(self, plural: str) -> Shelf:
        """All that is held of a kind; not to be changed by who asks."""
        return self._shelves[plural]

    def objects(self, plural: str) -> Mapping[Key, Object]:
        """All objects of a kind."""
        return self._shelves[plural].objects

    def get(self, plural: str, key: Key) -> Object | None:
        return self._shelves[plural].objects.get(key)

    def related(self, key: Key, reference: str) -> Health | None:
        """How what the object ``key`` calls ``Kind/name`` is; None where it is not known."""
        word, _, name = reference.partition("/")
        resource = self._by_kind.get(word)
        if resource is None:
            return None
        shelf = self._shelves[resource.plural]
        found = shelf.find(key.home, key.namespace if resource.namespaced else "", name)
        return shelf.state(found) if found is not None else None

    def listed(self, plural: str) -> bool:
        """Whether at least one home has answered for this kind."""
        return any(plural == kind for _, kind in self._listed)

    def client(self, home: str) -> AsyncClient | None:
        """The client of a home, once there is one."""
        return self._clients.get(home)

    def connected(self, home: str) -> AsyncClient:
        """The client of a home. Raises ServiceUnavailable while there is none."""
        client = self._clients.get(home)
        if client is None:
            raise ServiceUnavailable(f"There is no connection to {home} yet.")
        return client

    async def run(self, tell: Callable[[Changes], None]) -> None:
        """Follow everything until cancelled."""
        self._tell = tell
        # In a thread, because the import takes longer than a frame.
        await asyncio.to_thread(__import__, "hyperd.client.aio")
        from hyperd.client.aio import AsyncClient

        try:
            async with asyncio.TaskGroup() as tasks:
                for name, state in self.homes.items():
                    self._clients[name] = client = AsyncClient(state.home)
                    tasks.create_task(self._beat(name, client), name=f"{name}/beat")
                    for resource in self.resources.values():
                        tasks.create_task(self._follow(name, client, resource), name=f"{name}/{resource.plural}")
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for client in self._clients.values():
                await client.close()

    async def _beat(self, home: str, client: AsyncClient) -> None:
        """Notice a home that hangs: its connections stay open, and say nothing."""
        hangs = False
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self.homes[home].status is not HomeStatus.CONNECTED and not hangs:
                continue
            try:
                await client.ping()
            except (ServiceUnavailable, Timeout) as err:
                hangs = True
                self._set_home(home, HomeStatus.STALE, err.message)
                continue
            except HyperdError:
                pass  # a refusal is an answer
            if hangs:
                hangs = False
                self._set_home(home, HomeStatus.CONNECTED)

    async def _follow(self, home: str, client: AsyncClient, resource: Resource) -> None:
        version = ""
        failures = 0
        namespace: str | None = None
        while True:
            try:
                if not version:
                    items, version, weight = await client.list(resource, namespace)
                    self._replace(home, resource, items, weight)
                    self.homes[home].too_many.discard(resource.plural)
                    self._set_home(home, HomeStatus.CONNECTED)
                opened = partial(self._set_home, home, HomeStatus.CONNECTED)
                began = time.monotonic()
                watch = client.watch(resource, namespace, resource_version=version, opened=opened)
                async with aclosing(watch):
                    async for event, weight in watch:
                        failures = 0
                        version = self._take(home, resource, event, weight) or version
                await asyncio.sleep(max(0.0, began + _LASTING_SECONDS - time.monotonic()))
            except Expired:
                version = ""
            except _TooMuch:
                version = ""
                self._replace(home, resource, [])
                self.homes[home].too_many.add(resource.plural)
                self._set_home(home, HomeStatus.CONNECTED)
                await asyncio.sleep(_ABSENT_KIND_SECONDS)
            except (NotFound, Forbidden) as err:
                version = ""
                if isinstance(err, Forbidden) and resource.namespaced and namespace is None:
                    # A login that is limited to namespaces sees its own, which the kubeconfig names.
                    namespace = client.home.namespace
                    continue
                # A home without this kind, or where this user may not see it, is no fault of the home.
                self._replace(home, resource, [])
                namespace = None
                self._set_home(home, HomeStatus.CONNECTED)
                await asyncio.sleep(_ABSENT_KIND_SECONDS)
            except HyperdError as err:
                self._set_home(
                    home,
                    HomeStatus.STALE if (home, resource.plural) in self._listed else HomeStatus.ERROR,
                    err.message,
                )
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1

    def _replace(self, home: str, resource: Resource, items: list[Object], weight: int = 0) -> None:
        """Raises _TooMuch."""
        state, known = self.homes[home], self._shelves[resource.plural].objects
        weights = self._weights[resource.plural]
        former = [key for key in known if key.home == home]
        held = state.held - sum(weights[key] for key in former) + weight
        if held > MOST_HELD:
            raise _TooMuch
        state.held = held
        fresh = {_key(home, item): item for item in items}
        for key, item in fresh.items():
            item.setdefault("kind", resource.kind)
            item.setdefault("apiVersion", resource.api_version)
            if key not in known or _version(known[key]) != _version(item):
                self._put(resource.plural, key, item)
            weights[key] = weight // len(fresh)
        for key in former:
            if key not in fresh:
                weights.pop(key, None)
                self._drop(resource.plural, key)
        self._listed.add((home, resource.plural))
        self._changed.setdefault(resource.plural, set())
        self._schedule()

    def _take(self, home: str, resource: Resource, event: Object, weight: int) -> str:
        """Returns the version to go on from. Raises _TooMuch."""
        obj, state = event["object"], self.homes[home]
        if event["type"] != "BOOKMARK":
            key, weights = _key(home, obj), self._weights[resource.plural]
            state.held -= weights.pop(key, 0)
            if event["type"] == "DELETED":
                self._drop(resource.plural, key)
            else:
                before = self._put(resource.plural, key, obj)
                state.held -= weights.pop(before, 0) if before is not None else 0
                weights[key] = weight
                state.held += weight
            if state.held > MOST_HELD:
                raise _TooMuch
        return _version(obj)

    def _put(self, plural: str, key: Key, obj: Object) -> Key | None:
        before = self._shelves[plural].put(key, obj)
        if before is not None:
            self._note(plural, before)
        self._note(plural, key)
        return before

    def _drop(self, plural: str, key: Key) -> None:
        self._shelves[plural].drop(key)
        self._note(plural, key)

    def _set_home(self, name: str, status: HomeStatus, message: str = "") -> None:
        state = self.homes[name]
        if state.status is HomeStatus.STALE and status is HomeStatus.ERROR:
            status = HomeStatus.STALE
        if state.status is status and state.message == message:
            return
        if state.status is not status:
            state.since = time.monotonic()
        state.status, state.message = status, message
        self._homes_changed = True
        self._schedule()

    def _note(self, plural: str, key: Key) -> None:
        self._changed.setdefault(plural, set()).add(key)
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._flush)

    def _flush(self) -> None:
        self._timer = None
        changes = Changes(self._changed, self._homes_changed)
        self._changed, self._homes_changed = {}, False
        self._tell(changes)


def _key(home: str, obj: Object) -> Key:
    metadata = obj["metadata"]
    namespace, uid = metadata.get("namespace") or "", metadata.get("uid") or ""
    return Key(home, str(namespace), str(metadata["name"]), str(uid))


def _version(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")
