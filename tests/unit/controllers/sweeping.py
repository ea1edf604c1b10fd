"""A node for the sweep: real files, libvirt's test driver, and a store whose lists can be wrong."""

from __future__ import annotations

import copy
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

from hyperd.controllers.context import Context
from hyperd.controllers.host.quarantine import Quarantine
from hyperd.controllers.host.sweep import Sweeper
from hyperd.controllers.machine.applied import Applied
from hyperd.controllers.node.heartbeat import lease_name
from hyperd.controllers.ownership import NodeOwner
from hyperd.controllers.placement.binder import Binder
from hyperd.controllers.witness import Witness
from hyperd.errors import NotFound
from hyperd.network.interface import Link
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, NODE, VIRTUAL_DISK, VIRTUAL_IMAGE, VIRTUAL_MACHINE
from hyperd.resources.core.kinds import LEASE
from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.runtime.informer import Informer
from hyperd.settings import HypervisorSettings, ImportSettings, Settings, StorageSettings
from hyperd.storage.backends import backends
from hyperd.storage.departures import Departures
from hyperd.storage.seed import SeedStore
from hyperd.storage.volumes import BackendVolumes
from hyperd.store.interface import Item, Listing, PatchType, Store
from registry.images import NodeImages
from tests.testdriver.hypervisor import URI, TestDriver
from tests.testdriver.network import NoNetwork
from tests.unit.hypervisor import specs

KINDS = (VIRTUAL_MACHINE, VIRTUAL_DISK, VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE, NODE)
HERE = "metal"


class Objects:
    """What the store has, and what it says that it has."""

    def __init__(self) -> None:
        self.version = 1000
        self.id = "store-1"
        self.short = 0
        """So many lists of machines and disks lack all items, without an error; a negative number means all."""
        self._objects: dict[tuple[str, str, str], Object] = {}

    def put(self, kind: Kind, name: str, uid: str, *, namespace: str = "default", **more: Any) -> None:
        self.version += 1
        namespace = namespace if kind.namespaced else ""
        version = str(self.version)
        meta = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": version, "generation": 1}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": {}, **more}
        self._objects[kind.plural, namespace, name] = body

    def drop(self, kind: Kind, name: str) -> Object:
        """Without a trace, as a restored store has it."""
        return self._objects.pop((kind.plural, "default" if kind.namespaced else "", name))

    def mark_deleted(self, kind: Kind, name: str) -> None:
        self.version += 1
        meta = self._objects[kind.plural, "default", name]["metadata"]
        meta |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": str(self.version)}

    async def list(self, kind: Kind, _: str | None = None, **__: Any) -> Listing:
        if self.short and kind in (VIRTUAL_MACHINE, VIRTUAL_DISK):
            self.short -= 1
            return Listing([], str(self.version))
        found = [Item.of(obj) for (plural, _, _), obj in self._objects.items() if plural == kind.plural]
        return Listing(found, str(self.version))

    async def get(self, kind: Kind, namespace: str, name: str) -> Item:
        found = await self.find(kind, namespace, name)
        if found is None:
            raise NotFound(f"{kind.plural} {name} not found")
        return Item.of(found)

    async def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self._objects.get((kind.plural, namespace, name)))

    async def find_all(self, kind: Kind, namespace: str | None = None) -> Sequence[Object]:
        found = [item.object() for item in (await self.list(kind)).items]
        return [obj for obj in found if namespace in (None, obj["metadata"]["namespace"])]

    async def patch(self, kind: Kind, namespace: str, name: str, _: PatchType, patch: Any) -> Item:
        obj, changed = self._objects[kind.plural, namespace, name], patch["metadata"]
        annotations = {**obj["metadata"].get("annotations", {}), **changed.get("annotations", {})}
        obj["metadata"]["annotations"] = {key: value for key, value in annotations.items() if value is not None}
        obj["metadata"] |= {"finalizers": changed["finalizers"]} if "finalizers" in changed else {}
        return Item.of(obj)

    async def update(self, kind: Kind, namespace: str, name: str, obj: Object, *, subresource: str) -> Item:
        assert subresource == "status"
        if await self.find(kind, namespace, name) is None:
            raise NotFound(f"{kind.plural} {name} not found")
        self._objects[kind.plural, namespace, name] = copy.deepcopy(obj)
        return Item.of(obj)


@dataclass
class Network(NoNetwork):
    """Links by their machines' uids, and those that were made sure of since they are there."""

    links: dict[str, Link] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)

    async def inventory(self) -> list[str]:
        return list(self.links)

    async def connect(self, link: Link, *, starting: bool = False) -> None:
        self.links[link.uid] = link
        self.served.add(link.uid)

    async def disconnect(self, uid: str) -> None:
        self.links.pop(uid, None)
        self.served.discard(uid)


@dataclass
class Told:
    """Events about the node: reason and message."""

    events: list[tuple[str, str]] = field(default_factory=list)

    def event(self, _: Object, __: str, reason: str, message: str) -> None:
        self.events.append((reason, message))


@dataclass
class Host:
    """One node, and what lies on it."""

    settings: Settings
    objects: Objects
    hypervisor: TestDriver
    network: Network = field(default_factory=Network)
    told: Told = field(default_factory=Told)
    instance: str = field(default_factory=lambda: f"s{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.informers = {kind: Informer(cast(Store, self.objects), kind) for kind in KINDS}
        self.volumes, self.seeds = (
            BackendVolumes(backends(self.settings), Departures(self.settings.departures_dir)),
            SeedStore(self.settings),
        )
        self.images = NodeImages(self.settings)
        self.begin()

    def begin(self) -> None:
        """A daemon's start."""
        self.context = Context(
            settings=self.settings,
            node_name=HERE,
            store=cast(Store, self.objects),
            store_id=lambda: self.objects.id,
            witness=Witness(self.settings.state_dir / "seen.json", lambda: self.objects.id),
            ownership=NodeOwner(HERE, lambda: True),
            informer=self.informer,
            hypervisor=self.hypervisor,
            volumes=self.volumes,
            seeds=self.seeds,
            network=self.network,
            images=self.images,
            **cast(Any, {"events": self.told}),
        )
        self.placement = Binder(self.context)
        self.quarantine = Quarantine(self.settings.state_dir / "quarantine")
        self.sweeper = Sweeper(self.context, self.quarantine)

    def informer(self, kind: Kind) -> Informer:
        return self.informers.setdefault(kind, Informer(cast(Store, self.objects), kind))

    async def start(self) -> None:
        await self.sync()
        await self.sweeper.begin()
        await self.sweeper.sweep()

    async def sync(self) -> None:
        """What the informers hear of the store."""
        for informer in self.informers.values():
            await informer._relist()

    async def make(self, name: str) -> tuple[str, str]:
        """A machine that runs on a disk of its own, both owned: their uids."""
        machine, disk = str(uuid.uuid4()), str(uuid.uuid4())
        self.objects.put(VIRTUAL_DISK, name, disk)
        self.objects.put(VIRTUAL_MACHINE, name, machine)
        await self.volumes.provisioner(PROVISIONER).create_blank(disk, 1 << 20)
        address = IPv4Address("10.66.10.2") + len(self.network.links)
        spec = replace(
            specs.GENERIC,
            uid=machine,
            instance=self.instance,
            namespace="default",
            vm_name=name,
            applied=Applied(address=str(address)).encode(),
        )
        await self.hypervisor.define_and_start(spec)
        self.network.links[machine] = Link(machine, name, address)
        await self.seeds.write(machine, hostname=name, user_data=b"#!/bin/sh\n")
        self.settings.nvram_dir.joinpath(f"{machine}.fd").write_bytes(b"variables")
        self.settings.console_log_dir.joinpath(f"{machine}.log").write_bytes(b"login:")
        return machine, disk

    async def held(self) -> tuple[object, ...]:
        """All that a user would miss."""
        folders = (self.settings.volumes_dir, self.settings.nvram_dir, self.settings.seeds_dir)
        files = sorted(str(path) for folder in folders for path in folder.iterdir())
        logs = sorted(path.name for path in self.settings.console_log_dir.iterdir())
        domains = sorted((d.uid, d.state) for d in (await self.hypervisor.list_owned()).values())
        return files, logs, domains, sorted(self.network.links)

    def noted(self) -> set[str]:
        return {kept.uid for kept in self.quarantine.all()}


@asynccontextmanager
async def host(folder: Path) -> AsyncIterator[Host]:
    settings = Settings(
        state_dir=folder / "s",
        run_dir=folder / "r",
        log_dir=folder / "l",
        storage=StorageSettings(reserve_bytes=0),
        hypervisor=HypervisorSettings(uri=URI, resync_seconds=60),
        imports=ImportSettings(cache_retention_seconds=0),
    )
    for path in (
        settings.volumes_dir, settings.images_dir, settings.nvram_dir, settings.seeds_dir, settings.console_dir,
        settings.console_log_dir,
    ):  # fmt: skip
        path.mkdir(parents=True)
    instance = f"s{uuid.uuid4().hex[:8]}"
    hypervisor = TestDriver(settings.hypervisor, instance=instance)
    await hypervisor.start()
    await hypervisor.wait_connected()
    made = Host(settings, Objects(), hypervisor, instance=instance)
    made.objects.put(NODE, HERE, "node-uid")
    made.objects.put(LEASE, lease_name(HERE), "lease-uid", namespace=SYSTEM_NAMESPACE)
    try:
        await made.start()
        yield made
    finally:
        for uid in await hypervisor.list_owned():
            await hypervisor.destroy(uid)
            await hypervisor.undefine(uid)
        await hypervisor.close()
