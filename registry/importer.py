"""The importer's face: what to import in, what is in the registry out, failures in two kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hyperd.errors import (
    InternalError,
    ServiceUnavailable,
    TemporaryError,
    TooManyRequests,
)
from hyperd.imagefile.detect import FAILED
from hyperd.imagefile.handle import Handle
from hyperd.progress import Report
from hyperd.settings import Settings
from registry import sources
from registry.checksums import Checksums
from registry.client import RegistryClient
from registry.copying import Copying
from registry.flattening import Flattening
from registry.interface import NotBegun
from registry.meter import Meter
from registry.models import CopyRequest, ImportedImage, ImportRequest, Request, VolumeRequest
from registry.pipeline import Pipeline
from registry.push import Stored, stored_of
from registry.slots import Slots

_THIS_NODE = "this node"
"""Where the bytes of volumes come from, for ``Slots``."""


class Importer:
    """Runs imports, at most ``settings.imports.concurrent`` at a time, and shares them fairly.

    ``run`` raises PermanentError (``key`` is the reference's reason, ``ProvisioningFailed``) when trying again
    cannot help, TemporaryError else. Whatever it raises, nothing is tagged and no file or upload is left.
    """

    def __init__(self, settings: Settings, client: RegistryClient) -> None:
        self._settings = settings
        self._client = client
        self._reserve = settings.storage.reserve_bytes
        self._slots = Slots(settings.imports)

    async def run(self, request: ImportRequest, report: Report | None = None) -> ImportedImage:
        """Import, or find what a run of the same request has already imported."""
        Checksums(request.checksums)  # refuses unknown algorithms before anything waits for a slot
        meter = Meter(report)
        with _tried_again():
            async with self._slots.taken(request.namespace, sources.host_of(request)) as slot:
                with self._client.gate.writing():
                    stored, warning = await self._find(request), ""
                    if stored is None:
                        meter.start()
                        pipeline = Pipeline(self._settings, self._client, request, meter=meter, slot=slot)
                        stored = await pipeline.run()
                        warning = pipeline.warning
        return stored.image(self._reference(request), average_speed=meter.average_speed, warning=warning)

    async def find(self, request: Request) -> ImportedImage | None:
        """What a run of the same request has imported, by what the registry says; raises as ``run`` does."""
        if isinstance(request, ImportRequest):
            Checksums(request.checksums)
        with _tried_again(), self._client.gate.writing():
            stored = await self._find(request)
        return None if stored is None else stored.image(self._reference(request))

    async def copy(self, request: CopyRequest, report: Report | None = None) -> ImportedImage:
        """Tag an image of this registry once more; its bytes stay where they are if the registry can do that."""
        meter = Meter(report)
        with _tried_again(), self._client.gate.writing():
            stored = await self._find(request)
            if stored is None:
                copying = Copying(self._client, request, meter=meter, slots=self._slots, reserve=self._reserve)
                stored = await copying.run()
        return stored.image(self._reference(request))

    async def take(
        self, request: VolumeRequest, layers: Sequence[Handle], report: Report | None = None
    ) -> ImportedImage:
        """Keep what a volume holds, which ``layers`` are read for, the top first, and nobody may write to."""
        meter = Meter(report)
        with _tried_again():
            async with self._slots.taken(request.namespace, _THIS_NODE):
                with self._client.gate.writing():
                    stored = await self._find(request)
                    if stored is None:
                        meter.start()
                        stored = await Flattening(self._settings, self._client, request, layers, meter=meter).run()
        return stored.image(self._reference(request), average_speed=meter.average_speed)

    async def _find(self, request: Request) -> Stored | None:
        """What is tagged already, if it came from the same source."""
        return await stored_of(self._client, request.repository, request.tag, request.fingerprint)

    def _reference(self, request: Request) -> str:
        return self._client.endpoint.reference(request.repository, request.tag)


@contextmanager
def _tried_again() -> Iterator[None]:
    """What our own side raises as errors that end in another try."""
    try:
        yield
    except (ServiceUnavailable, TooManyRequests) as err:
        raise NotBegun(err.message, key=FAILED, delay=err.retry_after_seconds) from err
    except InternalError as err:
        raise TemporaryError(err.message, key=FAILED) from err
