"""What who watches an image or a disk sees of its making: no phase goes back, and progress fits them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_IMAGE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import EventType
from tests.unit.controllers.test_images_of_objects import a_disk, settled
from tests.unit.controllers.uploading import Uploading, uploading
from tests.unit.controllers.world import World, running
from tests.unit.registry.world import qcow2_bytes, web_server

_RANKS = {"": 0, "Pending": 1, "Provisioning": 2, "WaitForUserUpload": 2, "WaitForFirstConsumer": 2, "Ready": 3}
_PIECE = 256 << 10
_FAILED = ("ProvisioningFailed", "ProvisioningFailedTerminally")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(registry={"url": ""}) as made:
        yield made


class Watched:
    """Every state of one object, and what is wrong with it for who believes it."""

    def __init__(self) -> None:
        self.seen: list[Object] = []
        self.ready = asyncio.Event()

    def note(self, obj: Object) -> None:
        self.seen.append(obj)
        if (obj.get("status") or {}).get("phase") == "Ready":
            self.ready.set()

    @property
    def progress(self) -> Sequence[float]:
        texts = (str((obj.get("status") or {}).get("progress", "")) for obj in self.seen)
        return [float(text.removesuffix("%")) for text in texts if text]

    def faults(self) -> list[str]:
        found, most = [], 0
        for obj in self.seen:
            status = obj.get("status") or {}
            phase, progress = status.get("phase", ""), status.get("progress", "")
            if phase not in _RANKS or _RANKS[phase] < most:
                found.append(f"phase {phase} after rank {most}")
            most = max(most, _RANKS.get(phase, 0))
            if (phase == "Ready") != (progress == "100%"):
                found.append(f"{phase} at {progress}")
            if phase == "Pending" and progress:
                found.append(f"Pending at {progress}")
            found += _of_conditions(obj, phase)
        if list(self.progress) != sorted(self.progress):
            found.append(f"progress {self.progress}")
        if not self.progress or self.progress[0] != 0:
            found.append(f"no begin: {self.progress}")
        return found


def _of_conditions(obj: Object, phase: str) -> list[str]:
    found = []
    for type_ in ("Ready", "DatasourceReady", "StorageClassReady"):
        told = find_condition(obj, type_)
        if told is None or told["observedGeneration"] != obj["metadata"]["generation"]:
            continue
        if type_ == "Ready" and (told["status"] == "True") != (phase == "Ready"):
            found.append(f"{phase} and Ready is {told['status']}")
        if told["reason"] in _FAILED or (type_ != "Ready" and told["status"] != "True"):
            found.append(f"{type_} {told['reason']}: {told.get('message')}")
    return found


@asynccontextmanager
async def watched(world: World, kind: Kind, name: str) -> AsyncIterator[Watched]:
    """From before the object is made until it is Ready."""
    told = Watched()

    async def follow() -> None:
        async with world.store.watch(kind, None) as events:
            begun.set()
            async for event in events:
                if event.type in (EventType.ADDED, EventType.MODIFIED) and event.item.name == name:
                    told.note(event.item.object())

    begun = asyncio.Event()
    task = asyncio.create_task(follow())
    try:
        await begun.wait()
        yield told
        async with asyncio.timeout(20):
            await told.ready.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


FETCHED: list[tuple[Kind, str, Object]] = [
    (VIRTUAL_IMAGE, "vi", {"storage": "ContainerRegistry"}),
    (VIRTUAL_IMAGE, "vi-volume", {"storage": "PersistentVolumeClaim"}),
    (CLUSTER_VIRTUAL_IMAGE, "cvi", {}),
    (VIRTUAL_DISK, "vd", {}),
]


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    """As a network has it, so that progress is to be seen."""
    for at in range(0, len(content), _PIECE):
        yield content[at : at + _PIECE]
        await asyncio.sleep(0.02)


async def served(content: bytes, request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": str(len(content))})
    await answer.prepare(request)
    async for piece in in_pieces(content):
        await answer.write(piece)
    return answer


def of(kind: str, name: str, **more: str) -> Object:
    return {"dataSource": {"type": "ObjectRef", "objectRef": {"kind": kind, "name": name, **more}}}


async def make(world: World, kind: Kind, name: str, spec: Object) -> Watched:
    namespace = "default" if kind.namespaced else ""
    meta: Object = {"name": name, **({"namespace": namespace} if namespace else {})}
    async with watched(world, kind, name) as told:
        await world.store.create(kind, namespace, {"metadata": meta, "spec": spec})
    return told


async def test_what_is_made_of_objects_is_watched_without_a_step_back(world: World) -> None:
    await a_disk(world)
    snapshot: Object = {"metadata": {"namespace": "default", "name": "one"}, "spec": {"virtualDiskName": "vm"}}
    await world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", snapshot)
    await settled(world, VIRTUAL_DISK_SNAPSHOT, "one", "Ready")
    volume = {"storage": "PersistentVolumeClaim"}
    made: list[tuple[Kind, str, Object]] = [
        (VIRTUAL_IMAGE, "vi", of("VirtualDisk", "vm")),
        (VIRTUAL_IMAGE, "vi-volume", {**of("VirtualDisk", "vm"), **volume}),
        (VIRTUAL_IMAGE, "vi-vi", of("VirtualImage", "vi")),
        (VIRTUAL_IMAGE, "vi-vi-volume", {**of("VirtualImage", "vi"), **volume}),
        (VIRTUAL_IMAGE, "vi-snapshot", of("VirtualDiskSnapshot", "one")),
        (VIRTUAL_IMAGE, "vi-volume-volume", {**of("VirtualImage", "vi-volume"), **volume}),
        (CLUSTER_VIRTUAL_IMAGE, "cvi", of("VirtualImage", "vi", namespace="default")),
        (CLUSTER_VIRTUAL_IMAGE, "cvi-cvi", of("ClusterVirtualImage", "cvi")),
        (CLUSTER_VIRTUAL_IMAGE, "cvi-disk", of("VirtualDisk", "vm", namespace="default")),
        (CLUSTER_VIRTUAL_IMAGE, "cvi-snapshot", of("VirtualDiskSnapshot", "one", namespace="default")),
        (CLUSTER_VIRTUAL_IMAGE, "cvi-volume", of("VirtualImage", "vi-volume", namespace="default")),
        (VIRTUAL_DISK, "vd-blank", {"persistentVolumeClaim": {"size": "1Mi"}}),
        (VIRTUAL_DISK, "vd-cvi", of("ClusterVirtualImage", "cvi")),
        (VIRTUAL_DISK, "vd-vi", of("VirtualImage", "vi")),
        (VIRTUAL_DISK, "vd-volume", of("VirtualImage", "vi-volume")),
        (VIRTUAL_DISK, "vd-snapshot", of("VirtualDiskSnapshot", "one")),
    ]
    faults = {}
    for kind, name, spec in made:
        told = await make(world, kind, name, spec)
        faults[name] = told.faults()
    assert faults == {name: [] for _, name, _ in made}


async def test_what_is_fetched_is_watched_without_a_step_back(tmp_path: Path) -> None:
    image = await qcow2_bytes(tmp_path, data=4 << 20)
    faults = {}
    async with web_server() as source:
        source.routes["/image"] = partial(served, image)
        allowed = {"allowed": [f"127.0.0.1/32:{source.port}"]}
        async with running(registry={"url": ""}, imports=allowed) as world:
            for kind, name, spec in FETCHED:
                http = {"dataSource": {"type": "HTTP", "http": {"url": source.url("/image")}}}
                faults[name] = (await make(world, kind, name, {**spec, **http})).faults()
    assert faults == {name: [] for _, name, _ in FETCHED}


async def upload(up: Uploading, kind: Kind, name: str, spec: Object, image: bytes) -> Watched:
    async with watched(up.world, kind, name) as told:
        await up.world.store.create(
            kind,
            "default" if kind.namespaced else "",
            {"metadata": {"name": name}, "spec": {**spec, "dataSource": {"type": "Upload"}}},
        )
        waits = await up.world.phase("WaitForUserUpload", kind, name)
        length: Any = {"Content-Length": str(len(image))}
        status, text = await up.put(waits, in_pieces(image), headers=length)
        assert status == 200, text
    return told


async def test_what_is_uploaded_is_watched_without_a_step_back(tmp_path: Path) -> None:
    image = await qcow2_bytes(tmp_path, data=4 << 20)
    async with uploading() as up:
        faults = {name: (await upload(up, kind, name, spec, image)).faults() for kind, name, spec in FETCHED}
    assert faults == {name: [] for _, name, _ in FETCHED}
