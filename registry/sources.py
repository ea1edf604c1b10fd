"""Opens what is to be imported, whatever kind of source it has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from hyperd.settings import Settings
from registry.body import source_of
from registry.fetch import Source, open_source
from registry.models import ImportRequest
from registry.remote.disk import open_disk
from registry.remote.reference import ImageReference
from registry.urls import parse


def opened(
    request: ImportRequest, *, settings: Settings, received: Callable[[int], None]
) -> AbstractAsyncContextManager[Source]:
    """The source of ``request``; ``received`` is told of every read."""
    if request.body is not None:
        return nullcontext(source_of(request.body, settings.imports, received=received))
    if request.container_image:
        return open_disk(
            request.container_image,
            ca_bundle=request.ca_bundle,
            pull_secret=request.pull_secret,
            settings=settings,
            received=received,
        )
    return open_source(request.source_url, ca_bundle=request.ca_bundle, settings=settings, received=received)


def host_of(request: ImportRequest) -> str:
    """Beside whom it takes its place: who serves the bytes, or sends them."""
    if request.body is not None:
        return request.body.sender
    if request.container_image:
        return ImageReference.parse(request.container_image).registry
    return parse(request.source_url).host
