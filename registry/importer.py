"""The importer's face: what to import in, what is in the registry out, failures in two kinds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hyperd.errors import (
    InternalError,
    ServiceUnavailable,
    TemporaryError,
    TooManyRequests,
)
from hyperd.imagefile.detect import FAILED
from hyperd.progress import Report
from hyperd.settings import Settings
from registry import sources
from registry.checksums import Checksums
from registry.client import RegistryClient
from registry.interface import NotBegun
from registry.meter import Meter
from registry.models import ImportedImage, ImportRequest
from registry.pipeline import Pipeline, fingerprint
from registry.push import Stored, stored_of
from registry.slots import Slots


class Importer:
    """Runs imports, at most ``settings.imports.concurrent`` at a time, and shares them fairly.

    ``run`` raises PermanentError (``key`` is the reference's reason, ``ProvisioningFailed``) when trying again
    cannot help, TemporaryError else. Whatever it raises, nothing is tagged and no file or upload is left.
    """

    def __init__(self, settings: Settings, client: RegistryClient) -> None:
        self._settings = settings
        self._client = client
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

    async def find(self, request: ImportRequest) -> ImportedImage | None:
        """What a run of the same request has imported, by what the registry says; raises as ``run`` does."""
        Checksums(request.checksums)
        with _tried_again(), self._client.gate.writing():
            stored = await self._find(request)
        return None if stored is None else stored.image(self._reference(request))

    async def _find(self, request: ImportRequest) -> Stored | None:
        """What is tagged already, if it came from the same source."""
        return await stored_of(self._client, request.repository, request.tag, fingerprint(request))

    def _reference(self, request: ImportRequest) -> str:
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
