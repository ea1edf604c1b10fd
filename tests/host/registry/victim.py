"""A process that imports an image, caches it and makes a disk of it, as a daemon does; killed by the tests."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hyperd.storage.backends.directory.backend import DirectoryBackend
from registry.cache import ImageCache
from registry.client import RegistryClient
from registry.importer import Importer
from registry.models import ImportRequest
from registry.server import EmbeddedRegistry
from tests.unit.registry.world import settings_in


async def live(folder: Path, port: int, path: str) -> None:
    """All that a daemon does from its start to a disk; each step finds what a former life has done."""
    settings = settings_in(folder, port=port)
    server = EmbeddedRegistry(settings)
    client = RegistryClient(server.endpoint, settings)
    cache, pool = ImageCache(settings, client), DirectoryBackend(settings)
    await server.start()
    await cache.clean()
    await pool.start()
    request = ImportRequest("u1", f"http://127.0.0.1:{port}{path}", "vi/ns/image", "u1")
    image = await Importer(settings, client).run(request)
    cached = await cache.ensure(image.reference)
    await pool.provisioner.create_from_image("d1", image.virtual_size, image=cached.handle)
    await client.close()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
