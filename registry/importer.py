"""The importer's face: what to import in, what is in the registry out, failures in two kinds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from hyperd.errors import (
    InternalError,
    NotFound,
    PermanentError,
    ServiceUnavailable,
    TemporaryError,
    TooManyRequests,
)
from hyperd.imagefile.detect import FAILED, ImageFormat
from hyperd.progress import Report
from hyperd.settings import Settings
from registry import layout
from registry.checksums import Checksums
from registry.client import RegistryClient
from registry.interface import NotBegun
from registry.meter import Meter
from registry.models import ImportedImage, ImportRequest
from registry.pipeline import Pipeline, Stored, fingerprint
from registry.slots import Slots
from registry.urls import parse


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
            async with self._slots.taken(request.namespace, parse(request.source_url).host) as slot:
                with self._client.gate.writing():
                    stored, warning = await self._find(request), ""
                    if stored is None:
                        meter.start()
                        pipeline = Pipeline(self._settings, self._client, request, meter=meter, slot=slot)
                        stored = await pipeline.run()
                        warning = pipeline.warning
        return replace(self._image(request, stored, average_speed=meter.average_speed), warning=warning)

    async def find(self, request: ImportRequest) -> ImportedImage | None:
        """What a run of the same request has imported, by what the registry says; raises as ``run`` does."""
        Checksums(request.checksums)
        with _tried_again(), self._client.gate.writing():
            stored = await self._find(request)
        return None if stored is None else self._image(request, stored, average_speed=0)

    async def _find(self, request: ImportRequest) -> Stored | None:
        """What is tagged already, if it came from the same source."""
        try:
            digest, content = await self._client.manifest(request.repository, request.tag)
            config_digest, layer = layout.parse_manifest(content)
            disk = layout.parse_config(await self._client.get_blob(request.repository, config_digest))
        except (NotFound, PermanentError):
            return None
        if disk.source != fingerprint(request):
            return None
        return Stored(digest, disk, layer)

    def _image(self, request: ImportRequest, stored: Stored, *, average_speed: int) -> ImportedImage:
        disk = stored.disk
        return ImportedImage(
            reference=self._client.endpoint.reference(request.repository, request.tag),
            manifest_digest=stored.manifest_digest,
            layer_digest=stored.layer.digest,
            format=disk.format,
            cdrom=disk.format is ImageFormat.ISO,
            stored_bytes=disk.size,
            unpacked_bytes=disk.virtual_size,
            virtual_size=disk.virtual_size,
            sha256=disk.sha256,
            average_speed=average_speed,
        )


@contextmanager
def _tried_again() -> Iterator[None]:
    """What our own side raises as errors that end in another try."""
    try:
        yield
    except (ServiceUnavailable, TooManyRequests) as err:
        raise NotBegun(err.message, key=FAILED, delay=err.retry_after_seconds) from err
    except InternalError as err:
        raise TemporaryError(err.message, key=FAILED) from err
