"""A real server over a real store, in folders of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from blockbuster import blockbuster_ctx

from hyperd.admission.dispatch import reviewer
from hyperd.api.access.authorization import asking
from hyperd.api.access.rules import RoleAuthorizer
from hyperd.api.serving.app import ApiServer
from hyperd.api.stats.sampler import Sampler
from hyperd.api.stats.unstored import stores
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.controllers.bootstrap import bootstrap
from hyperd.offload import Offload
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Object
from hyperd.settings import AccessSettings, ApiSettings, AuditSettings, FrontProxySettings, Settings
from hyperd.store.embedded.store import EmbeddedStore

GROUP = "/apis/virtualization.deckhouse.io/v1alpha2"


@dataclass
class Api:
    """One server, its store, and a client on its unix socket."""

    settings: Settings
    store: EmbeddedStore
    server: ApiServer
    client: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any]:
        """Status and decoded JSON."""
        if body is not None:
            kwargs["json"] = body
        async with self.client.request(method, f"http://h{path}", **kwargs) as response:
            return response.status, await response.json(content_type=None)

    async def version(self) -> str:
        """The store's resourceVersion counter."""
        _, listed = await self.call("GET", "/api/v1/configmaps")
        return str(listed["metadata"]["resourceVersion"])


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="hva"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    sessions: SubresourceHandlers | None = None,
    admission: bool = True,
    access: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
    front_proxy: dict[str, Any] | None = None,
    vfs: str = "",
    sampler: Sampler | None = None,
    **api: Any,
) -> AsyncIterator[Api]:
    """A started server over the store in ``folder``, with the first objects of a real daemon.

    Without ``admission`` machines have no finalizers, which only controllers would take off again. ``vfs`` is the
    store's file layer, ``sampler`` what measures guests.
    """
    settings = Settings(
        state_dir=folder,
        run_dir=folder,
        log_dir=folder,
        api=ApiSettings(**{"port": 0, **api}),
        access=AccessSettings(**(access or {})),
        audit=AuditSettings(**(audit or {})),
        front_proxy=FrontProxySettings(**(front_proxy or {})),
    )
    admit = reviewer(settings, may=asking(RoleAuthorizer(KINDS))) if admission else None
    processes = Offload()
    store = EmbeddedStore(
        settings.database_path, settings=settings.store, admit=admit, kinds=KINDS, vfs=vfs, processes=processes
    )
    await store.start()
    await bootstrap(store, settings)
    server = ApiServer(
        settings, store, sessions=sessions, processes=processes,
        collectors=() if sampler is None else (sampler.samples,),
        unstored=None if sampler is None else stores(sampler, "n1"),
    )  # fmt: skip
    try:
        await server.start()
        server.ready = True
        connector = aiohttp.UnixConnector(path=str(settings.socket_path))
        async with aiohttp.ClientSession(connector=connector) as client:
            yield Api(settings, store, server, client)
    finally:
        await server.stop()
        await store.close()
        await processes.close()


@pytest.fixture(autouse=True)
def never_blocking() -> Iterator[None]:
    """A call in the API's own code that blocks the event loop fails the test."""
    with blockbuster_ctx("hyperd.api"):
        yield


@pytest.fixture
async def api(folder: Path) -> AsyncIterator[Api]:
    async with serving(folder) as running:
        yield running


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def machine(name: str, **metadata: Any) -> Object:
    """A small valid VirtualMachine."""
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachine",
        "metadata": {"name": name, **metadata},
        "spec": {
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1},
            "memory": {"size": "512Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": f"{name}-root"}],
        },
    }
