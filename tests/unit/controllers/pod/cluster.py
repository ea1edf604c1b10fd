"""A cluster's store as the leader's part sees it, and what its scheduler and kubelets do, one step at a time."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from hyperd.controllers.context import Context
from hyperd.controllers.placement.interface import WithoutPods
from hyperd.controllers.placement.placing import Nodes
from hyperd.controllers.pod.claiming import ClaimController
from hyperd.controllers.pod.controller import PodController
from hyperd.controllers.pod.losses import Losses
from hyperd.controllers.pod.manifest import pod_name
from hyperd.errors import AlreadyExists, Conflict, Forbidden, NotFound
from hyperd.resources.all import POD, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.runtime.controller import Key, Result
from hyperd.runtime.informer import Informer
from hyperd.settings import Settings
from hyperd.store.interface import Item, PatchType, Preconditions, Write
from tests.parts import Part, part
from tests.unit.controllers.pod.machines import CONF

WEB = Key("shop", "web")


class Cluster:
    """Objects by kind, namespace and name; informers see each write at once unless it is ``hidden``."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str, str], Object] = {}
        self.refusal = ""
        """What the API server says to a new Pod."""
        self.hidden = False
        self.told: list[tuple[str, str]] = []
        """Reasons and messages of events."""
        self._versions = itertools.count(1)
        self._informers: dict[Kind, Informer] = {}
        settings = Settings(home="kubernetes", kubernetes=CONF)
        volumes = SimpleNamespace(provisioners=["hyperd.local/directory"], claims=True, lead=lambda _: None)
        self.context = SimpleNamespace(
            settings=settings,
            store=self,
            informer=self.informer,
            node_name="leader",
            coming=set(),
            events=self,
            volumes=volumes,
            ownership=SimpleNamespace(binds=True, leads=lambda: True),
        )
        given = cast(Context, self.context)
        self.served = ["metal", "wood"]
        """The nodes with a hyperd."""
        self.claiming = ClaimController(given, part(WithoutPods()), part(SimpleNamespace(usable=self._usable)))
        self.losses = Losses(given)
        self.controller = PodController(given, Nodes(given), self.losses, claimed=self.claiming.takes)

    async def _usable(self) -> tuple[list[Part], str]:
        return [{"metadata": {"name": name}} for name in self.served], "" if self.served else "No node is served."

    def informer(self, kind: Kind) -> Informer:
        if kind not in self._informers:
            self._informers[kind] = Informer(part(self), kind)
        return self._informers[kind]

    def put(self, kind: Kind, obj: Part) -> None:
        obj = {"apiVersion": kind.api_version, "kind": kind.kind, **copy.deepcopy(obj)}
        meta = obj["metadata"]
        meta["resourceVersion"] = str(next(self._versions))
        key = (kind, meta.get("namespace", ""), meta["name"])
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and kind is VIRTUAL_MACHINE:
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
        if not self.hidden:
            self.show()

    def show(self) -> None:
        """Let the informers see all."""
        for kind, informer in self._informers.items():
            there = {(ns, name): obj for (of, ns, name), obj in self.objects.items() if of is kind}
            for gone in [(item.namespace, item.name) for item in informer.items()]:
                if gone not in there:
                    informer._remove(gone)
            for found, obj in there.items():
                informer._put(found, Item.of(obj))

    # As the store

    async def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def get(self, kind: Kind, namespace: str, name: str) -> Item:
        return Item.of(self.objects[kind, namespace, name])

    async def find_all(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        return [copy.deepcopy(obj) for (of, _, _), obj in self.objects.items() if of is kind]

    async def create(self, kind: Kind, namespace: str, obj: Object) -> Item:
        if self.refusal:
            raise Forbidden(self.refusal)
        name = obj["metadata"]["name"]
        if (kind, namespace, name) in self.objects:
            raise AlreadyExists(name)
        obj = copy.deepcopy(obj)
        obj["metadata"]["uid"] = f"pod-{next(self._versions)}"
        self.put(kind, obj)
        return Item.of(self.objects[kind, namespace, name])

    async def update(self, kind: Kind, namespace: str, name: str, obj: Object, *, subresource: str) -> Item:
        found = self.objects[kind, namespace, name]
        if found["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise Conflict(name)
        self.put(kind, {**found, "status": obj["status"]})
        return Item.of(self.objects[kind, namespace, name])

    async def patch(self, kind: Kind, namespace: str, name: str, _: PatchType, patch: Any) -> Item:
        found = copy.deepcopy(self.objects[kind, namespace, name])
        for field, changed in patch["metadata"].items():
            if isinstance(changed, dict):
                merged = {**found["metadata"].get(field, {}), **changed}
                found["metadata"][field] = {key: value for key, value in merged.items() if value is not None}
            elif field != "resourceVersion":
                found["metadata"][field] = changed
        found["spec"] = {**found.get("spec", {}), **patch.get("spec", {})}
        self.put(kind, found)
        return Item.of(found)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, preconditions: Preconditions, write: Write
    ) -> None:
        found = self.objects.get((kind, namespace, name))
        if found is None:
            raise NotFound(name)
        assert found["metadata"]["uid"] == preconditions.uid
        if write.at_once:
            del self.objects[kind, namespace, name]
            self.show()
            return
        self.put(kind, {**found, "metadata": {**found["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})

    # As the recorder

    def event(self, obj: Object, level: str, reason: str, message: str) -> None:
        self.told.append((reason, message))

    # What others do

    async def look(self) -> Result | None:
        """One reconcile, as the queue has it."""
        return await self.controller.reconcile(WEB)

    @property
    def machine(self) -> Part:
        return self.objects[VIRTUAL_MACHINE, *WEB]

    @property
    def pod(self) -> Part:
        """The machine's; None where there is none."""
        return next(self._pods(), None)

    def _pods(self) -> Iterator[Part]:
        yield from (obj for (kind, _, _), obj in self.objects.items() if kind is POD)

    def set_machine(self, **status: Any) -> None:
        self.put(VIRTUAL_MACHINE, {**self.machine, "status": {**self.machine.get("status", {}), **status}})

    def set_spec(self, **spec: Any) -> None:
        self.put(VIRTUAL_MACHINE, {**self.machine, "spec": {**self.machine["spec"], **spec}})

    def schedule(self, node: str) -> None:
        """The scheduler binds the Pod, and its kubelet runs it."""
        pod = self.pod
        self.put(POD, {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": {"phase": "Running"}})

    def end_pod(self) -> None:
        """The kubelet has ended it."""
        self.objects.pop((POD, WEB.namespace, pod_name(self.machine)))
        self.show()
