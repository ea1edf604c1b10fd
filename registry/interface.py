"""What images are to the rest of the house: imported into a registry, copied to this node, collected in the end.

An image is known by its reference (a ``registryURL``), or by repository and tag in the registry of ``endpoint``;
its tag is its owner's uid. Each call may be repeated after a crash: what is there is found, not made again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from hyperd.errors import TemporaryError
from hyperd.imagefile.handle import Handle
from hyperd.imagefile.lazy import FetchState
from hyperd.progress import Report
from registry.intake import Intake
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

POSTPONED: Final = "ProvisioningPostponed"
"""The reference's reason for what waits for a garbage collection."""
RETRY_SECONDS: Final = 15.0
"""When who was told to come again should."""

Image = tuple[str, str]
"""(repository, tag)"""
Live = Callable[[], Awaitable[Set[Image]]]
"""Reads what has an owner, imported or not; asked once the registry's content is known."""
Dead = Callable[[str, str], bool]
"""Whether an image without an owner, by repository and tag, may go though nobody marked it as deleted."""


class NotBegun(TemporaryError):
    """Nothing was fetched: our own side is not ready, and will be soon."""


class Postponed(TemporaryError):
    """An import and a collection met: who came second is told to come again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, key=POSTPONED, delay=RETRY_SECONDS)


@dataclass(frozen=True)
class Collected:
    """What one collection removed, and what it left: images without an owner that nobody deleted."""

    manifests: int
    repositories: int
    ownerless: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Space:
    """Of a file system, in bytes; ``available`` is what is left for others than root."""

    total: int
    used: int
    available: int


@dataclass(frozen=True)
class Survey:
    """What a collection would find now: all images, those that it would remove, and those without an owner."""

    images: int
    removable: tuple[Image, ...]
    ownerless: tuple[Image, ...]
    space: Space | None
    """None for a registry elsewhere."""


class Images(Protocol):
    """The registry and this node's copies: what controllers hold.

    Raises ServiceUnavailable while the registry is down or busy, TemporaryError where trying again may help, and
    PermanentError (``key`` is the reference's reason) where it cannot.
    """

    @property
    def intake(self) -> Intake:
        """Where uploads come in."""
        ...

    @property
    def endpoint(self) -> RegistryEndpoint:
        """Where the registry is; known before ``start``."""
        ...

    @property
    def shared(self) -> bool:
        """Whether it is one registry for all nodes, and not this node's own."""
        ...

    async def start(self) -> None:
        """At the daemon's start, before any import; a registry that does not come up is tried on."""
        ...

    async def close(self) -> None: ...

    async def exists(self, reference: str) -> bool:
        """Whether the image is there; one in another registry does not exist in this one."""
        ...

    async def import_image(self, request: ImportRequest, report: Report | None = None) -> ImportedImage:
        """Import, or find what an earlier call for the same request has imported.

        Raises NotBegun where nothing was fetched. Whatever it raises, nothing is tagged and nothing is left.
        """
        ...

    async def imported(self, request: Request) -> ImportedImage | None:
        """What an earlier call has made of the same request, None without it; raises as that does."""
        ...

    async def copy_image(self, request: CopyRequest, report: Report | None = None) -> ImportedImage:
        """Make an image of this registry another one's as well, without a second copy where the registry can."""
        ...

    async def take_volume(
        self, request: VolumeRequest, layers: Sequence[Handle], report: Report | None = None
    ) -> ImportedImage:
        """Keep what a volume of this node holds, as ``Attacher.layers`` says, as an image of its own."""
        ...

    async def copy(self, reference: str, report: Report | None = None) -> CachedImage:
        """The image as a file of this node; callers at once share one download. Raises NotFound without it."""
        ...

    def held(
        self, reference: str, report: Report | None = None, *, lazily: bool = False
    ) -> AbstractAsyncContextManager[CachedImage]:
        """Like ``copy``; ``evict`` and ``end_fetch`` leave it alone until the block ends.

        ``lazily``: it need not be there yet, if it can be read while it is fetched.
        """
        ...

    async def fetching(self, image: Path) -> FetchState | None:
        """How the fetch fares of the image whose place that is; None where nobody fetches it."""
        ...

    async def fetches(self) -> Sequence[Path]:
        """The places of all images that are being fetched while they are used, or were until just now."""
        ...

    async def end_fetch(self, image: Path, unused: Callable[[], Awaitable[bool]]) -> None:
        """Fetch it no more, and remove what has come of it unless it is whole, if ``unused`` says so.

        That is asked while nobody can begin to use it.
        """
        ...

    async def copies(self) -> Sequence[CachedFile]:
        """All files of this node, whoever needs them."""
        ...

    async def evict(self, layer_digest: str, unused: Callable[[], Awaitable[bool]]) -> None:
        """Delete the file if nobody holds it and ``unused`` says that nothing was made of it; none is fine.

        ``unused`` is asked while nobody can begin to use the file.
        """
        ...

    async def mark_deleted(self, repository: str, tag: str) -> None:
        """Note beside an image that its owner was deleted; nothing to do where there is no image."""
        ...

    async def survey(self, live: Live, *, dead: Dead) -> Survey:
        """What ``collect`` would find; removes nothing, and waits for nothing."""
        ...

    async def collect(self, live: Live, *, dead: Dead) -> Collected:
        """Remove images without an owner that are dead or marked as deleted; Postponed while imports run."""
        ...
