"""A whole daemon with objects that wait for uploads, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from hyperd.resources.all import VIRTUAL_IMAGE
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.values.conditions import find_condition
from registry import tree
from tests.unit.controllers.world import World, running
from tests.unit.registry.world import files_in

SUBRESOURCES = "http://h/apis/subresources.virtualization.deckhouse.io/v1alpha2"
OBJECTS = "http://h/apis/virtualization.deckhouse.io/v1alpha2"
WAITS, PROVISIONING, READY, FAILED = "WaitForUserUpload", "Provisioning", "Ready", "Failed"


class Uploading:
    """A daemon with objects that wait for uploads, and a client on its socket."""

    def __init__(self, world: World, client: aiohttp.ClientSession) -> None:
        self.world = world
        self.client = client

    async def make(self, kind: Kind = VIRTUAL_IMAGE, **checksum: str) -> Object:
        source: Object = {"type": "Upload"}
        if checksum:
            source["upload"] = {"checksum": checksum}
        spec: Object = {"dataSource": source}
        if kind is VIRTUAL_IMAGE:
            spec["storage"] = "ContainerRegistry"
        body = {"metadata": {"name": "up"}, "spec": spec}
        await self.world.store.create(kind, "default" if kind.namespaced else "", body)
        return await self.phase(WAITS, kind)

    async def phase(self, wanted: str, kind: Kind = VIRTUAL_IMAGE) -> Object:
        return await self.world.phase(wanted, kind, "up")

    async def put(self, obj: Object, data: Any, method: str = "PUT", **kwargs: Any) -> tuple[int, str]:
        async with self.client.request(method, f"http://h{path_of(obj)}", data=data, **kwargs) as answer:
            return answer.status, await answer.text()

    async def socket(
        self, kind: Kind = VIRTUAL_IMAGE, *, size: int | None = None
    ) -> aiohttp.ClientWebSocketResponse:
        namespace = "/namespaces/default" if kind.namespaced else ""
        query = "" if size is None else f"?size={size}"
        url = f"{SUBRESOURCES}{namespace}/{kind.plural}/up/upload{query}"
        return await self.client.ws_connect(url, protocols=["plain.virtualization.deckhouse.io"])

    async def leftovers(self) -> list[str]:
        settings = self.world._settings
        uploads = [str(path) for path in await asyncio.to_thread(tree.uploads, settings.registry_dir)]
        return uploads + [name for name in files_in(settings.images_dir) if "import" in name]


def path_of(obj: AnyObject) -> str:
    urls = obj["status"]["imageUploadURLs"]
    path: str = "/upload/" + urls["external"].rpartition("/")[2]
    assert urls["inCluster"].endswith(path)
    return path


def why(obj: AnyObject) -> tuple[str, str]:
    ready = find_condition(obj, "Ready")
    assert ready is not None
    return ready["reason"], ready["message"]


@asynccontextmanager
async def uploading(**settings: Any) -> AsyncIterator[Uploading]:
    async with running(registry={}, **settings) as world:
        connector = aiohttp.UnixConnector(path=str(world._settings.socket_path))
        async with aiohttp.ClientSession(connector=connector) as client:
            yield Uploading(world, client)
