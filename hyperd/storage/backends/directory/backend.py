"""The directory pool, as libvirt calls it: volumes are qcow2 files in a folder of the node."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from hyperd.imagefile.qemuimg import QemuImg
from hyperd.resources.core import storage_class
from hyperd.settings import Settings
from hyperd.storage.backends.directory.attacher import DirectoryAttacher
from hyperd.storage.backends.directory.fetching import LazyVolumes
from hyperd.storage.backends.directory.folder import Folder
from hyperd.storage.backends.directory.merging import Merger
from hyperd.storage.backends.directory.provisioner import DirectoryProvisioner


class DirectoryBackend:
    """One folder, ``settings.volumes_dir``."""

    name: ClassVar = storage_class.PROVISIONER

    def __init__(self, settings: Settings) -> None:
        self._folder = Folder(settings.volumes_dir)
        tools = QemuImg(settings)
        merger = Merger(self._folder, tools, reserve=settings.storage.reserve_bytes)
        images = settings.images_dir
        lazily = LazyVolumes(self._folder, merger, tools, images=images, socket=settings.lazy_socket)
        self.provisioner = DirectoryProvisioner(settings, self._folder, tools, merger, lazily)
        self.attacher = DirectoryAttacher(self._folder, merger, lazily, images=images)

    async def start(self) -> None:
        await asyncio.to_thread(self._folder.clean)
