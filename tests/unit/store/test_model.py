"""The store against a dictionary: whatever is done to it, in whatever order, both hold and tell the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hyperd.errors import AlreadyExists, Conflict, HyperdError, NotFound
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import EventType, PatchType, Preconditions, Propagation
from tests.contract.store.kinds import WIDGETS, owned_by, widget
from tests.unit.store.script import memory_folder, store_at

T = TypeVar("T")
NAMES = st.sampled_from(["a", "b", "c", "d"])
COLORS = st.sampled_from(["red", "green", "blue"])
FINALIZER = "test.deckhouse.io/hold"


@dataclass
class Known:
    """What the model knows of one object."""

    uid: str
    version: str
    color: str
    held: bool
    deleting: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    phase: str = ""
    owner: str = ""


class StoreModel(RuleBasedStateMachine):
    """Objects of one kind by name; owners are by uid, as the collector sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = memory_folder()
        self.path = self.folder.__enter__() / "s.db"
        self.store = store_at(self.path)
        self.model: dict[str, Known] = {}
        self.stale: dict[str, str] = {}
        self.followed: dict[str, str] = {}
        self.since = ""
        self.highest = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def fails(self, work: Coroutine[Any, Any, object], error: type[HyperdError]) -> None:
        try:
            self.run(work)
        except error:
            return
        raise AssertionError(f"{error.__name__} was expected")

    @initialize()
    def start(self) -> None:
        self.run(self.store.start())
        self.since = self.run(self.store.list(WIDGETS)).resource_version

    def teardown(self) -> None:
        self.run(self.store.close())
        self.loop.close()
        self.folder.__exit__(None, None, None)

    # What clients do

    @rule(name=NAMES, color=COLORS, held=st.booleans(), owner=st.none() | NAMES)
    def create(self, name: str, color: str, held: bool, owner: str | None) -> None:
        obj = widget(name, color=color)
        if held:
            obj["metadata"]["finalizers"] = [FINALIZER]
        if owner in self.model and owner != name:
            owned_by(obj, self.get(owner))
        work = self.store.create(WIDGETS, "default", obj)
        if name in self.model:
            self.fails(work, AlreadyExists)
            return
        item = self.run(work)
        owned = self.model[owner].uid if owner in self.model and owner != name else ""
        self.model[name] = Known(item.uid, self.newer(item.resource_version), color, held, owner=owned)

    @rule(name=NAMES, color=COLORS, stale=st.booleans())
    def update(self, name: str, color: str, stale: bool) -> None:
        if name not in self.model:
            self.fails(self.store.update(WIDGETS, "default", name, widget(name)), NotFound)
            return
        obj, known = self.get(name), self.model[name]
        obj["spec"]["color"] = color
        if stale:
            obj["metadata"]["resourceVersion"] = str(int(known.version) - 1)
            self.fails(self.store.update(WIDGETS, "default", name, obj), Conflict)
            return
        item = self.run(self.store.update(WIDGETS, "default", name, obj))
        if color == known.color:
            assert item.resource_version == known.version, "a write that changes nothing made a version"
        else:
            known.color, known.version = color, self.newer(item.resource_version)

    @rule(name=NAMES, value=st.none() | COLORS)
    def patch_label(self, name: str, value: str | None) -> None:
        patch = {"metadata": {"labels": {"color": value}}}
        work = self.store.patch(WIDGETS, "default", name, PatchType.MERGE, patch)
        if name not in self.model:
            self.fails(work, NotFound)
            return
        known = self.model[name]
        item = self.run(work)
        if known.labels.get("color") != value:
            known.version = self.newer(item.resource_version)
            known.labels = {"color": value} if value else {}
        assert item.resource_version == known.version

    @rule(name=NAMES, phase=st.sampled_from(["Pending", "Running"]))
    def update_status(self, name: str, phase: str) -> None:
        if name not in self.model:
            return
        obj, known = self.get(name), self.model[name]
        obj["status"] = {"phase": phase}
        obj["spec"]["color"] = "of the status: not taken"
        item = self.run(self.store.update(WIDGETS, "default", name, obj, subresource="status"))
        if known.phase != phase:
            known.phase, known.version = phase, self.newer(item.resource_version)
        assert item.resource_version == known.version

    @rule(name=NAMES, propagation=st.sampled_from([Propagation.BACKGROUND, Propagation.ORPHAN]), uid=st.booleans())
    def delete(self, name: str, propagation: Propagation, uid: bool) -> None:
        if name not in self.model:
            self.fails(self.store.delete(WIDGETS, "default", name), NotFound)
            return
        known = self.model[name]
        if uid:
            wrong = Preconditions(uid="another")
            self.fails(self.store.delete(WIDGETS, "default", name, preconditions=wrong), Conflict)
            return
        self.run(self.store.delete(WIDGETS, "default", name, propagation=propagation))
        if propagation is Propagation.ORPHAN:
            for other in self.model.values():
                if other.owner == known.uid:
                    other.owner = ""
        known.deleting = True
        self.settle()

    @rule(name=NAMES)
    def let_go(self, name: str) -> None:
        if name not in self.model:
            return
        patch = {"metadata": {"finalizers": None}}
        self.run(self.store.patch(WIDGETS, "default", name, PatchType.MERGE, patch))
        self.model[name].held = False
        self.settle()

    @precondition(lambda self: self.model)
    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        """A clean stop, or what a kill leaves: the files as they are."""
        if kill:
            content = {path.name: path.read_bytes() for path in self.path.parent.glob("s.db*")}
        self.run(self.store.close())
        if kill:
            for name, data in content.items():
                (self.path.parent / name).write_bytes(data)
        self.store = store_at(self.path)
        self.run(self.store.start())
        self.settle()

    # What must hold

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        if not self.since:
            return
        items = self.run(self.store.list(WIDGETS)).items
        assert {item.name: item.uid for item in items} == {name: known.uid for name, known in self.model.items()}
        for item in items:
            known, obj = self.model[item.name], item.object()
            assert item.raw == self.run(self.store.get(WIDGETS, "default", item.name)).raw
            assert obj["spec"]["color"] == known.color
            assert obj["metadata"].get("labels", {}) == known.labels
            assert (obj.get("status") or {}).get("phase", "") == known.phase
            assert ("deletionTimestamp" in obj["metadata"]) == known.deleting

    @invariant()
    def a_watcher_that_resumes_arrives_at_the_same(self) -> None:
        if not self.since:
            return
        self.run(self._follow())
        assert self.followed == {
            item.name: item.resource_version for item in self.run(self.store.list(WIDGETS)).items
        }

    async def _follow(self) -> None:
        async with self.store.watch(WIDGETS, resource_version=self.since, timeout=0) as events:
            async for event in events:
                item = event.item
                assert int(item.resource_version) > int(self.since)
                assert (event.type is EventType.ADDED) == (item.name not in self.followed)
                if event.type is EventType.DELETED:
                    del self.followed[item.name]
                else:
                    self.followed[item.name] = item.resource_version
                self.since = item.resource_version

    # Helpers

    def get(self, name: str) -> Object:
        found: Object = self.run(self.store.get(WIDGETS, "default", name)).object()
        return found

    def newer(self, version: str) -> str:
        assert int(version) > self.highest
        self.highest = int(version)
        return version

    def settle(self) -> None:
        """Apply to the model what the collector will do, and wait for it."""
        while gone := [name for name, known in self.model.items() if self._goes(known)]:
            for name in gone:
                known = self.model[name]
                if known.deleting and not known.held:
                    del self.model[name]
                else:
                    known.deleting = True
        self.run(self._settled())

    def _goes(self, known: Known) -> bool:
        if known.deleting:
            return not known.held
        return bool(known.owner) and all(other.uid != known.owner for other in self.model.values())

    async def _settled(self) -> None:
        while True:
            items = (await self.store.list(WIDGETS)).items
            found = {item.name: item.object() for item in items}
            if found.keys() == self.model.keys() and all(
                ("deletionTimestamp" in obj["metadata"]) == self.model[name].deleting
                and FINALIZER in obj["metadata"].get("finalizers", [FINALIZER])
                and bool(obj["metadata"].get("ownerReferences")) == bool(self.model[name].owner)
                for name, obj in found.items()
            ):
                break
            await asyncio.sleep(0.001)
        for item in items:
            known = self.model[item.name]
            known.version = item.resource_version
            self.highest = max(self.highest, int(item.resource_version))
        self.highest = max(self.highest, int((await self.store.list(WIDGETS)).resource_version))


def test_the_store_is_a_dictionary_that_remembers() -> None:
    run_state_machine_as_test(
        StoreModel, settings=settings(max_examples=25, stateful_step_count=30, deadline=None, derandomize=True)
    )
