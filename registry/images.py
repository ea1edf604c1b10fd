"""A node's images: the registry, embedded or elsewhere, its importer, and the cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from hyperd.background import end_all
from hyperd.imagefile.handle import Handle
from hyperd.imagefile.lazy import FetchState
from hyperd.progress import Progress, Report
from hyperd.settings import Settings
from registry import collect
from registry.cache import ImageCache
from registry.client import RegistryClient
from registry.importer import Importer
from registry.intake import Intake
from registry.interface import Collected, Dead, Image, Images, Live, Survey
from registry.lazy.fetches import LazyFetches
from registry.models import (
    CachedFile,
    CachedImage,
    CopyRequest,
    ImportedImage,
    ImportRequest,
    RegistryEndpoint,
    Request,
    VolumeRequest,
)
from registry.server import EmbeddedRegistry, external_endpoint


class NodeImages(Images):
    """In the registry that ``settings.registry.url`` names, or in one of this node's own.

    Raises PermanentError when the password of the former cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._server = None if settings.registry.url else EmbeddedRegistry(settings)
        self._endpoint = self._server.endpoint if self._server is not None else external_endpoint(settings)
        self._client = RegistryClient(self._endpoint, settings)
        self._importer = Importer(settings, self._client)
        self._fetches = LazyFetches(settings, self._client)
        self._cache = ImageCache(settings, self._client, self._fetches)
        self._intake = Intake(settings.imports)

    @property
    def intake(self) -> Intake:
        return self._intake

    @property
    def endpoint(self) -> RegistryEndpoint:
        return self._endpoint

    @property
    def shared(self) -> bool:
        return self._server is None

    async def start(self) -> None:
        await self._cache.clean()
        if self._server is not None:
            await self._server.start()
        await self._fetches.start()

    async def close(self) -> None:
        endings = [("images that are being fetched", self._fetches.close)]
        endings.append(("the registry's client", self._client.close))
        if self._server is not None:
            endings.append(("the registry", self._server.stop))
        await end_all(endings)

    async def exists(self, reference: str) -> bool:
        return await self._client.exists(reference)

    async def import_image(self, request: ImportRequest, report: Report | None = None) -> ImportedImage:
        if request.upload is None:
            return await self._importer.run(request, report)
        told = report or _unheard

        async def work(come: ImportRequest) -> ImportedImage:
            return await self._importer.run(come, report)

        return await self.imported(request) or await self._intake.receive(request, request.upload, work, told)

    async def imported(self, request: Request) -> ImportedImage | None:
        return await self._importer.find(request)

    async def copy_image(self, request: CopyRequest, report: Report | None = None) -> ImportedImage:
        return await self._importer.copy(request, report)

    async def take_volume(
        self, request: VolumeRequest, layers: Sequence[Handle], report: Report | None = None
    ) -> ImportedImage:
        return await self._importer.take(request, layers, report)

    async def copy(self, reference: str, report: Report | None = None) -> CachedImage:
        return await self._cache.ensure(reference, report)

    def held(
        self, reference: str, report: Report | None = None, *, lazily: bool = False
    ) -> AbstractAsyncContextManager[CachedImage]:
        return self._cache.held(reference, report, lazily=lazily)

    async def fetching(self, image: Path) -> FetchState | None:
        return await self._fetches.state(image)

    async def fetches(self) -> list[Path]:
        return await self._fetches.images()

    async def end_fetch(self, image: Path, unused: Callable[[], Awaitable[bool]]) -> None:
        await self._cache.end_fetch(image, unused)

    async def copies(self) -> list[CachedFile]:
        return await self._cache.inventory()

    async def evict(self, layer_digest: str, unused: Callable[[], Awaitable[bool]]) -> None:
        await self._cache.evict(layer_digest, unused)

    async def mark_deleted(self, repository: str, tag: str) -> None:
        await collect.mark_deleted(self._client, repository, tag)

    async def survey(self, live: Live, *, dead: Dead) -> Survey:
        return await collect.survey(self._client, self._server, self._needed(live), dead=dead)

    async def collect(self, live: Live, *, dead: Dead) -> Collected:
        return await collect.garbage_collect(self._client, self._server, self._needed(live), dead=dead)

    def _needed(self, live: Live) -> Live:
        """And what guests read that has not come yet, whoever owned it."""

        async def all_() -> Set[Image]:
            return await live() | await self._fetches.sources()

        return all_


def _unheard(_: Progress) -> None:
    """Of progress that nobody asked for."""
