"""HTTP source to registry (interface; being filled in)."""

from __future__ import annotations

from hyperd.settings import Settings
from registry.client import RegistryClient
from registry.models import ImportedImage, ImportRequest, Report


class Importer:
    """Runs imports, at most ``settings.imports.concurrent`` at a time.

    ``run`` raises PermanentError (``key`` is the reference's reason, ``ProvisioningFailed``) when trying again
    cannot help, TemporaryError else. Whatever it raises, nothing is tagged and no file or upload is left.
    """

    def __init__(self, settings: Settings, client: RegistryClient) -> None:
        self.settings = settings
        self.client = client

    async def run(self, request: ImportRequest, report: Report) -> ImportedImage:
        raise NotImplementedError
