"""The node's image cache (interface; being filled in)."""

from __future__ import annotations

from hyperd.settings import Settings
from registry.client import RegistryClient
from registry.models import CachedFile, CachedImage, Report


class ImageCache:
    """Read-only image files by layer digest in ``settings.images_dir``."""

    def __init__(self, settings: Settings, client: RegistryClient) -> None:
        self.settings = settings
        self.client = client

    async def clean(self) -> None:
        """At start, before any import: remove what a crash left half done."""
        raise NotImplementedError

    async def ensure(self, reference: str, report: Report | None = None) -> CachedImage:
        """The image behind ``registryURL`` as a local file; concurrent callers share one download.

        Raises NotFound when the image is not in the registry, TemporaryError when trying again may help.
        """
        raise NotImplementedError

    async def remove(self, layer_digest: str) -> None:
        """Delete the cached file; no volume may have it as backing."""
        raise NotImplementedError

    async def inventory(self) -> list[CachedFile]:
        raise NotImplementedError
