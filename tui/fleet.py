"""All objects of all homes, kept current by watches: what every view draws from.

Each (home, kind) pair has a task of its own, so a home that hangs costs the others nothing. Rows of a home that
is lost stay, marked stale with the time since when; a watch resumes where it was, and lists again after 410.
Changes are gathered and told at most ten times a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hyperd.client.health import Health, Level
from hyperd.client.home import Home
from hyperd.client.resource import Resource
from hyperd.errors import Expired, Forbidden, HyperdError, NotFound, ServiceUnavailable
from tui import pulse
from tui.homes import HomeState, HomeStatus
from tui.shelf import Key, Object, Shelf, key_of, version_of

if TYPE_CHECKING:
    from hyperd.client.aio import AsyncClient

GATHER_SECONDS = 0.1
SPARING_SECONDS = 1.0
"""As GATHER_SECONDS, where the line to the terminal is slow."""
_ABSENT_KIND_SECONDS = 60.0
_LASTING_SECONDS = 1.0
"""A watch that ends sooner is not followed by the next at once."""
MOST_HELD = 512 << 20
"""Bytes that the objects of one home may take, by ``http1.weight``: a home may send objects without end."""
LINGER_SECONDS = 30.0
"""So long a kind is followed that nobody looks at any more: who comes back soon finds it current."""

Held = tuple[Object, Sequence[object]]
"""An object, and its cells where the server's own columns are shown."""


class _TooMuch(Exception):
    """A home has more of a kind than there is room for."""


@dataclass(frozen=True)
class Changes:
    """What happened since the last telling: kind (plural) → keys; ``homes`` when a home's state changed."""

    keys: dict[str, set[Key]]
    homes: bool
    kinds: frozenset[str] = frozenset()
    """Kinds that a home turned out to serve, or whose columns became known."""


class Fleet:
    """The store of the TUI. ``tell`` is called on the event loop with what changed."""

    def __init__(
        self,
        homes: Sequence[Home],
        resources: Iterable[Resource],
        *,
        always: Iterable[str] | None = None,
        unjudged: Iterable[str] = (),
        gather: float = GATHER_SECONDS,
    ) -> None:
        """``resources`` are shown by columns of our own, all others by the server's; ``always`` are those (all
        resources, unless it is given) that are followed whether somebody looks or not; of ``unjudged`` nobody asks
        how well they are. What changes within ``gather`` seconds is told of at once.
        """
        self._gather = gather
        self.homes: dict[str, HomeState] = {}
        for home in homes:
            self._place(home)
        self.resources = {resource.plural: resource for resource in resources}
        self.columns: dict[str, list[Object]] = {}
        """The server's definitions of the columns of kinds that we have none for."""
        self._ours = frozenset(self.resources)
        self._by_kind = {resource.kind: resource for resource in self.resources.values()}
        self._shelves: defaultdict[str, Shelf] = defaultdict(Shelf)
        for plural in unjudged:
            self._shelves[plural] = Shelf(_well)
        self._weights: defaultdict[str, dict[Key, int]] = defaultdict(dict)
        self._viewers = Counter([*self.resources] if always is None else always)
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        """What follows a kind of a home; what looks at the home itself has no kind."""
        self._group: asyncio.TaskGroup | None = None
        self._listed: set[tuple[str, str]] = set()
        self._clients: dict[str, AsyncClient] = {}
        self._changed: dict[str, set[Key]] = {}
        self._homes_changed = False
        self._kinds_changed: set[str] = set()
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

    def add(self, resource: Resource) -> str:
        """Know one more kind; returns its name here: the plural, or with the group where that is taken."""
        known = self.resources.get(resource.plural)
        name = resource.plural
        if known is not None and known.group != resource.group:
            name = f"{resource.plural}.{resource.group}"
        if name not in self.resources:
            self.resources[name] = resource
            if self._group is not None:  # before that, whoever adds it knows
                self._kinds_changed.add(name)
                self._schedule()
        return name

    def watch(self, plural: str) -> None:
        """Somebody looks at a kind from now on."""
        self._viewers[plural] += 1
        self._begin(plural)

    def unwatch(self, plural: str) -> None:
        """One viewer less; without any it is followed for a little while yet, and then forgotten."""
        self._viewers[plural] -= 1
        if self._group is not None and not self._viewers[plural]:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._forget, plural)

    def _begin(self, plural: str) -> None:
        for home in self._clients:
            self._begin_at(home, plural)

    def _begin_at(self, home: str, plural: str) -> None:
        resource = self.resources.get(plural)
        if self._group is None or resource is None or (home, plural) in self._tasks:
            return
        following = self._follow(home, self._clients[home], plural, resource)
        self._tasks[home, plural] = self._group.create_task(following, name=f"{home}/{plural}")

    def _forget(self, plural: str) -> None:
        if self._viewers[plural] or self._group is None:
            return
        for home in self.homes:
            if (task := self._tasks.pop((home, plural), None)) is not None:
                task.cancel()
                self._replace(home, plural, [])
                self._listed.discard((home, plural))
                self.homes[home].too_many.discard(plural)

    async def run(self, tell: Callable[[Changes], None]) -> None:
        """Follow everything until cancelled."""
        self._tell = tell
        # In a thread, because the import takes longer than a frame.
        await asyncio.to_thread(__import__, "hyperd.client.aio")
        try:
            async with asyncio.TaskGroup() as tasks:
                self._group = tasks
                for name in self.homes:
                    self._enter(name)
                await asyncio.Event().wait()  # more may come
        finally:
            self._group = None
            if self._timer is not None:
                self._timer.cancel()
            for client in self._clients.values():
                await client.close()

    def _place(self, home: Home) -> str:
        name = home.name
        while name in self.homes:
            name += "'"
        self.homes[name] = HomeState(home)
        return name

    def _enter(self, name: str) -> None:
        """Connect to one home."""
        from hyperd.client.aio import AsyncClient

        if self._group is None:
            return
        self._clients[name] = client = AsyncClient(self.homes[name].home)
        looking = pulse.watch(self.homes[name], client, partial(self._set_home, name), self.add)
        self._tasks[name, ""] = self._group.create_task(looking, name=f"{name}/beat")
        for plural in +self._viewers:
            self._begin_at(name, plural)

    def join(self, home: Home) -> str:
        """One home more; returns what it is called here."""
        name = self._place(home)
        self._enter(name)
        self._homes_changed = True
        self._schedule()
        return name

    async def leave(self, name: str) -> None:
        """One home less, with all that is known of it."""
        client = self._end(name)
        for plural in [plural for home, plural in self._listed if home == name]:
            self._replace(name, plural, [])
            self._listed.discard((name, plural))
        del self.homes[name]
        self._homes_changed = True
        self._schedule()
        await client.close()

    async def again(self, name: str) -> None:
        """Connect to a home anew, now; what is known of it stays."""
        await self._end(name).close()
        if name in self.homes:
            self._enter(name)

    def _end(self, name: str) -> AsyncClient:
        for place in [place for place in self._tasks if place[0] == name]:
            self._tasks.pop(place).cancel()
        return self._clients.pop(name)

    async def _list(self, home: str, client: AsyncClient, plural: str, namespace: str | None) -> str:
        """Take all of a kind; returns the version to watch from. Raises _TooMuch, HyperdError."""
        resource = self.resources[plural]
        if plural in self._ours:
            items, version, weight = await client.list(resource, namespace)
            self._replace(home, plural, [(item, ()) for item in items], weight)
            return version
        printed, version, weight = await client.print(resource, namespace)
        if printed.columns and plural not in self.columns:
            self.columns[plural] = printed.columns
            self._kinds_changed.add(plural)
        self._replace(home, plural, printed.rows, weight)
        return version

    async def _follow(self, home: str, client: AsyncClient, plural: str, resource: Resource) -> None:
        version = ""
        failures = 0
        namespace: str | None = None
        while True:
            try:
                if not version:
                    version = await self._list(home, client, plural, namespace)
                    self.homes[home].too_many.discard(plural)
                    self._set_home(home, HomeStatus.CONNECTED)
                opened = partial(self._set_home, home, HomeStatus.CONNECTED)
                began = time.monotonic()
                watch = client.watch(
                    resource, namespace, resource_version=version, opened=opened, printed=plural not in self._ours
                )
                async with aclosing(watch):
                    async for event, weight in watch:
                        failures = 0
                        version = self._take(home, plural, event, weight) or version
                await asyncio.sleep(max(0.0, began + _LASTING_SECONDS - time.monotonic()))
            except Expired:
                version = ""
            except _TooMuch:
                version = ""
                self._replace(home, plural, [])
                self.homes[home].too_many.add(plural)
                self._set_home(home, HomeStatus.CONNECTED)
                await asyncio.sleep(_ABSENT_KIND_SECONDS)
            except (NotFound, Forbidden) as err:
                version = ""
                if isinstance(err, Forbidden) and resource.namespaced and namespace is None:
                    # A login that is limited to namespaces sees its own, which the kubeconfig names.
                    namespace = client.home.namespace
                    continue
                # A home without this kind, or where this user may not see it, is no fault of the home.
                self._replace(home, plural, [])
                namespace = None
                self._set_home(home, HomeStatus.CONNECTED)
                await asyncio.sleep(_ABSENT_KIND_SECONDS)
            except HyperdError as err:
                self._set_home(
                    home,
                    HomeStatus.STALE if (home, plural) in self._listed else HomeStatus.ERROR,
                    err.message,
                )
                await asyncio.sleep(pulse.RETRY_SECONDS[min(failures, len(pulse.RETRY_SECONDS) - 1)])
                failures += 1

    def _replace(self, home: str, plural: str, items: Sequence[Held], weight: int = 0) -> None:
        """Raises _TooMuch."""
        state, known, resource = self.homes[home], self._shelves[plural].objects, self.resources[plural]
        weights = self._weights[plural]
        former = [key for key in known if key.home == home]
        held = state.held - sum(weights[key] for key in former) + weight
        if held > MOST_HELD:
            raise _TooMuch
        state.held = held
        fresh = {key_of(home, item): (item, cells) for item, cells in items}
        for key, (item, cells) in fresh.items():
            item.setdefault("kind", resource.kind)
            item.setdefault("apiVersion", resource.api_version)
            if key not in known or version_of(known[key]) != version_of(item):
                self._put(plural, key, item, cells)
            weights[key] = weight // len(fresh)
        for key in former:
            if key not in fresh:
                weights.pop(key, None)
                self._drop(plural, key)
        self._listed.add((home, plural))
        self._changed.setdefault(plural, set())
        self._schedule()

    def _take(self, home: str, plural: str, event: Object, weight: int) -> str:
        """Returns the version to go on from. Raises _TooMuch."""
        obj, state = event["object"], self.homes[home]
        if event["type"] != "BOOKMARK":
            key, weights = key_of(home, obj), self._weights[plural]
            state.held -= weights.pop(key, 0)
            if event["type"] == "DELETED":
                self._drop(plural, key)
            else:
                before = self._put(plural, key, obj, event.get("cells") or ())
                state.held -= weights.pop(before, 0) if before is not None else 0
                weights[key] = weight
                state.held += weight
            if state.held > MOST_HELD:
                raise _TooMuch
        return version_of(obj)

    def _put(self, plural: str, key: Key, obj: Object, cells: Sequence[object] = ()) -> Key | None:
        # Half of many an object, and nothing that is shown.
        obj["metadata"].pop("managedFields", None)
        before = self._shelves[plural].put(key, obj, cells)
        if before is not None:
            self._note(plural, before)
        self._note(plural, key)
        return before

    def _drop(self, plural: str, key: Key) -> None:
        self._shelves[plural].drop(key)
        self._note(plural, key)

    def _set_home(self, name: str, status: HomeStatus, message: str = "") -> None:
        state = self.homes.get(name)
        if state is None:
            return  # it has just left
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
            self._timer = asyncio.get_running_loop().call_later(self._gather, self._flush)

    def _flush(self) -> None:
        self._timer = None
        changes = Changes(self._changed, self._homes_changed, frozenset(self._kinds_changed))
        self._changed, self._homes_changed, self._kinds_changed = {}, False, set()
        self._tell(changes)


_FINE = Health(Level.GOOD, "")


def _well(_: Object) -> Health:
    return _FINE
